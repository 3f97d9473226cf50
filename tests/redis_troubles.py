"""Ways to have a living Redis answer with an error, and to make it well again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
from waiting import eventually

Server = redis.Redis
FOR_EVER = "while true do end"


@contextmanager
def _configured(server: Server, **settings: str) -> Iterator[None]:
    names = [name.replace("_", "-") for name in settings]
    before = {name: server.config_get(name)[name] for name in names}
    for name, value in settings.items():
        server.config_set(name.replace("_", "-"), value)
    try:
        yield
    finally:
        for name in reversed(names):
            server.config_set(name, before[name])


@contextmanager
def _without_replicas(server: Server, _key: str) -> Iterator[None]:
    """redis #8623."""
    with _configured(server, min_replicas_to_write="1"):
        yield


@contextmanager
def _without_disk(server: Server, _key: str) -> Iterator[None]:
    """As after a save in the background that failed; newer servers let nobody move their folder by a command."""
    with _configured(server, dir="/proc", save="60 1", stop_writes_on_bgsave_error="yes"):
        server.bgsave()
        eventually(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", what="the save has failed")
        yield
    server.bgsave()
    eventually(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "ok", what="a save succeeds")


@contextmanager
def _of_another_type(server: Server, key: str) -> Iterator[None]:
    server.set(key, "somebody's")
    yield
    server.delete(key)


@contextmanager
def _busy(server: Server, _key: str) -> Iterator[None]:
    def loop() -> None:
        with contextlib.suppress(redis.RedisError):
            server.eval(FOR_EVER, 0)  # on a connection of its own: another is in use meanwhile

    with _configured(server, lua_time_limit="1"):
        thread = threading.Thread(target=loop)
        thread.start()
        try:
            eventually(lambda: _says(server.ping) == "BUSY", within_seconds=5, what="the script runs")
            yield
        finally:
            server.script_kill()
            thread.join(10)


def _says(call: Callable[[], object]) -> str:
    try:
        call()
    except redis.RedisError as error:
        return str(error).partition(" ")[0]
    return ""


@contextmanager
def _as_a_replica(server: Server, _key: str) -> Iterator[None]:
    server.replicaof("127.0.0.1", "1")
    yield
    server.replicaof("NO", "ONE")


@contextmanager
def _as_a_lost_replica(server: Server, _key: str) -> Iterator[None]:
    with _configured(server, replica_serve_stale_data="no"):
        server.replicaof("127.0.0.1", "1")
        yield
        server.replicaof("NO", "ONE")


@contextmanager
def _without_a_right(server: Server, _key: str) -> Iterator[None]:
    server.execute_command("ACL", "SETUSER", "default", "-eval")
    yield
    server.execute_command("ACL", "SETUSER", "default", "+eval")


TROUBLES = {
    "NOREPLICAS": _without_replicas,
    "MISCONF": _without_disk,
    "WRONGTYPE": _of_another_type,
    "BUSY": _busy,
    "READONLY": _as_a_replica,
    "MASTERDOWN": _as_a_lost_replica,
    "NOPERM": _without_a_right,
}
"""What it answers, and how it comes to that: a server, and the key of the lease."""

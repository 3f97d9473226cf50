"""A master, a replica of it and three Sentinels, as processes on loopback: what `redis+sentinel://` is tried out on."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import redis

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.runtime.child_processes import die_with_parent
from scheduler_core.storage.embedded.programs import find_redis
from scheduler_core.storage.embedded.server import free_port, write_private

HOST = "127.0.0.1"
MASTER = "mymaster"
QUORUM = 2
WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files: who is trusted, and by what all five show who they are."""

    authority: Path
    certificate: Path
    key: Path


class Sentinels:
    """The five processes; they end with `close`, and with this process.

    Parameters: folder, for their files; down_after_seconds, how long the master may be silent before a Sentinel holds
    it to be down; program, which server to use; tls, for five that speak nothing else. Servers and Sentinels have a
    password each.
    """

    def __init__(
        self,
        folder: Path,
        *,
        down_after_seconds: float = 1.0,
        program: Path | None = None,
        tls: Certificates | None = None,
    ) -> None:
        self.folder, self._tls = folder, tls
        self.password, self.sentinel_password = secrets.token_hex(8), secrets.token_hex(8)
        self.ports = [free_port() for _ in range(2)]
        self.sentinel_ports = [free_port() for _ in range(3)]
        self._down_after_ms = int(down_after_seconds * 1000)
        self._program = str(program or find_redis()[0])
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """The `redis_url` of this set."""
        hosts = ",".join(f"{HOST}:{port}" for port in self.sentinel_ports)
        rest = f":{self.password}@{hosts}/{MASTER}/0?sentinel_password={self.sentinel_password}"
        return f"redis+sentinel://{rest}" if self._tls is None else f"rediss+sentinel://{rest}&{self._trust}"

    @property
    def master_url(self) -> str:
        """The `redis_url` of today's master."""
        rest = f":{self.password}@{HOST}:{self.master_port()}/0"
        return f"redis://{rest}" if self._tls is None else f"rediss://{rest}?{self._trust}"

    @property
    def _trust(self) -> str:
        return "" if self._tls is None else f"ssl_ca_certs={self._tls.authority}"

    def __enter__(self) -> Self:
        """Start all, and wait until the Sentinels know each other and the replica."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End all."""
        self.close()

    def master_port(self) -> int:
        """Where the first Sentinel says that the master is."""
        with self._sentinel(self.sentinel_ports[0]) as sentinel:
            return int(sentinel.sentinel_get_master_addr_by_name(MASTER)[1])

    def kill_master(self) -> int:
        """Kill it with -9. Returns the port that it had."""
        port = self.master_port()
        process = self._processes[port]
        process.send_signal(signal.SIGKILL)
        process.wait()
        return port

    def start_again(self, port: int) -> None:
        """Start a server that was killed, and wait until it is the new master's replica."""
        self._launch(port, [])
        self._wait(self._is_whole, "the killed server is a replica")

    def await_promotion(self, old_port: int) -> None:
        """Wait until another server than the old one is the master, and accepts a write."""

        def promoted() -> bool:
            port = self.master_port()
            if port == old_port:
                return False
            with self._client(port) as client:
                return bool(client.set("bench:promoted", port))

        self._wait(promoted, "another master")

    def keys(self, pattern: str) -> dict[str, dict[str, str]]:
        """The hashes of this name on the master."""
        with self._client(self.master_port()) as client:
            found = {key: client.hgetall(key) for key in client.scan_iter(pattern)}
        # What ran out between the two questions is not there.
        return {key: fields for key, fields in found.items() if fields}  # type: ignore[misc]

    def close(self) -> None:
        """End all."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def _start(self) -> None:
        for port in self.ports:
            self._launch(port, [] if port == self.ports[0] else [f"replicaof {HOST} {self.ports[0]}"])
        self._wait(lambda: all(self._answers(port) for port in self.ports), "servers that answer")
        for port in self.sentinel_ports:
            self._launch(
                port,
                [
                    f"sentinel monitor {MASTER} {HOST} {self.ports[0]} {QUORUM}",
                    f"sentinel auth-pass {MASTER} {self.password}",
                    f"sentinel down-after-milliseconds {MASTER} {self._down_after_ms}",
                    f"sentinel failover-timeout {MASTER} 5000",
                    f"requirepass {self.sentinel_password}",
                ],
                "--sentinel",
            )
        self._wait(self._is_whole, "Sentinels that know each other")

    def _is_whole(self) -> bool:
        for port in self.sentinel_ports:
            with self._sentinel(port) as sentinel:
                state = sentinel.sentinel_master(MASTER)
                replicas = sentinel.sentinel_slaves(MASTER)
                living = [one for one in replicas if not one["is_sdown"] and one["master-link-status"] == "ok"]
                others = int(state["num-other-sentinels"])
            if state["flags"] != "master" or others != len(self.sentinel_ports) - 1 or not living:
                return False
        return True

    def _launch(self, port: int, more: list[str], *words: str) -> None:
        folder = self.folder / str(port)
        folder.mkdir(parents=True, exist_ok=True)
        settings = [f"bind {HOST}", "dir ./", 'logfile "server.log"']
        if self._tls is None:
            settings.append(f"port {port}")
        else:
            settings += [
                "port 0",
                f"tls-port {port}",
                f"tls-ca-cert-file {self._tls.authority}",
                f"tls-cert-file {self._tls.certificate}",
                f"tls-key-file {self._tls.key}",
                "tls-auth-clients no",
                "tls-replication yes",
            ]
        if not words:
            settings += [f"requirepass {self.password}", f"masterauth {self.password}"]
            settings += ['save ""', "repl-diskless-sync-delay 0"]
        write_private(folder / "server.conf", "\n".join([*settings, *more]) + "\n")
        self._processes[port] = subprocess.Popen(
            [self._program, "server.conf", *words],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
        )

    def _wait(self, ask: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError, OSError, KeyError):
                if ask():
                    return
            time.sleep(0.02)
        raise SchedulerError(f"not within {WAIT_SECONDS:.0f} s: {what}; logs in {self.folder}")

    def _answers(self, port: int) -> bool:
        with self._client(port) as client:
            return bool(client.ping())

    def _client(self, port: int) -> redis.Redis:
        return redis.Redis(
            HOST, port, password=self.password, decode_responses=True, socket_timeout=2, **self._encryption
        )

    def _sentinel(self, port: int) -> redis.Redis:
        return redis.Redis(HOST, port, password=self.sentinel_password, socket_timeout=2, **self._encryption)

    @property
    def _encryption(self) -> dict[str, Any]:
        return {} if self._tls is None else {"ssl": True, "ssl_ca_certs": str(self._tls.authority)}

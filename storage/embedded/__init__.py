"""Real servers without an installation: PostgreSQL and Redis from wheels, kept in a folder, gone with their process.

`start()` brings up both on 127.0.0.1 with random passwords and returns their URLs. The data, the passwords and, as
long as they are free, the ports stay in the folder for the next time. A second `start()` on the same folder, from
another process or the same, attaches to the running servers; whoever started them ends them.

How it hangs together: each server is the child of a small launcher process (`launcher`), which ends it when the
process that called `start()` ends, however that ends: by stop(), at its exit, or by kill -9. The holder, and after
its death its launchers, keep a lock on the folder (`flock`, released by the kernel), so a new holder never meets the
old one's servers. A crash leaves nothing behind that needs a hand: what still runs in the folder is ended, stale
files are removed.

Postgres refuses to run as root. For root the launcher enters a user namespace in which root is called nobody; where
namespaces are refused, the servers really run as `nobody`, from a copy of the programs if need be, and their data
belongs to it. Nothing else on the machine is changed.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from scheduler_core.domain.errors import EmbeddedServerError
from scheduler_core.storage.embedded.launcher import NOBODY
from scheduler_core.storage.embedded.postgres import PostgresServer, postgres_answers
from scheduler_core.storage.embedded.programs import choose_identity, reachable
from scheduler_core.storage.embedded.redis import RedisServer, redis_answers
from scheduler_core.storage.embedded.server import START_TIMEOUT, Server, StopMode, read_state

__all__ = [
    "EmbeddedServerError",
    "EmbeddedServers",
    "PostgresServer",
    "RedisServer",
    "Server",
    "StopMode",
    "default_folder",
    "start",
]

HOLDER_TIMEOUT = START_TIMEOUT + 5
DEAD_TIMEOUT = 3.0
"""After a server's death: whoever holds the folder may be starting it again."""
"""How long the folder's holder may take to start its servers, or to end them, before we give up waiting."""


@dataclass(frozen=True, slots=True, repr=False)
class EmbeddedServers:
    """A running PostgreSQL and Redis.

    `postgres` and `redis` are there only for the one who started them: to stop, kill and restart either; the pids here
    are those of the first start. `owned` is False when the servers were somebody else's already.
    """

    database_url: str
    redis_url: str
    data_dir: Path
    postgres_pid: int
    redis_pid: int
    owned: bool
    postgres: PostgresServer | None = field(default=None, compare=False)
    redis: RedisServer | None = field(default=None, compare=False)
    _lock: _FolderLock | None = field(default=None, compare=False)

    @property
    def lock_fd(self) -> int | None:
        """The descriptor of the folder's lock, for a server that is started beside these; None if they are not ours."""
        return None if self._lock is None else self._lock.descriptor

    def __repr__(self) -> str:
        """Without passwords."""
        return (
            f"EmbeddedServers(data_dir={str(self.data_dir)!r}, postgres_pid={self.postgres_pid}, "
            f"redis_pid={self.redis_pid}, owned={self.owned})"
        )

    def __enter__(self) -> Self:
        """They run already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them if they are ours."""
        self.stop()

    def stop(self) -> None:
        """End the servers if we started them; a second call does nothing. A forked child's call does nothing."""
        if self._lock is None or not self._lock.ours:
            return
        with contextlib.ExitStack() as stack:  # each of them also if another fails
            stack.callback(atexit.unregister, self.stop)
            stack.callback(self._lock.release)
            for server in (self.postgres, self.redis):
                if server is not None:
                    stack.callback(server.stop)


def default_folder() -> Path:
    """Where the data is kept: SCHEDULER_DATA_DIR, else `.scheduler` in the working directory."""
    return Path(os.environ.get("SCHEDULER_DATA_DIR") or ".scheduler")


def start(
    data_dir: Path | str | None = None,
    *,
    redis_server: Literal["valkey", "redis"] | None = None,
    postgres_settings: Mapping[str, str] | None = None,
) -> EmbeddedServers:
    """Start PostgreSQL and Redis in the folder, or attach to those that run there already.

    Parameters: data_dir, the folder (default: SCHEDULER_DATA_DIR, else `.scheduler`); redis_server, which of the two to
    use (default: the best one installed); postgres_settings, lines of postgresql.conf. The latter two have no effect
    on servers that run already.
    Raises EmbeddedServerError, whose message says what to do.
    """
    folder = _make_folder(Path(data_dir) if data_dir is not None else default_folder())
    lock = _FolderLock(folder)
    deadline = time.monotonic() + HOLDER_TIMEOUT
    dead_since: float | None = None
    while not lock.acquire():
        holder = lock.holder()
        running = _attach(folder, holder)
        if running is not None:
            return running
        dead = _dead_servers(folder)
        dead_since = (dead_since or time.monotonic()) if dead else None
        if dead_since is not None and time.monotonic() - dead_since > DEAD_TIMEOUT:
            raise EmbeddedServerError(
                f"the embedded {' and '.join(dead)} of the data folder {folder} has ended, and process "
                f"{holder or '?'}, which started it, goes on: end that process and start it again; "
                "what was committed is there"
            )
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"the data folder {folder} is held by process {lock.holder() or '?'}, but its servers do not answer; "
                f"end that process, or choose another folder with data_dir or SCHEDULER_DATA_DIR"
            )
        time.sleep(0.05)
    postgres = redis = None
    try:
        postgres = PostgresServer(folder, settings=postgres_settings, lock_fd=lock.descriptor)
        redis = RedisServer(folder, kind=redis_server, lock_fd=lock.descriptor)
        postgres.start()
        redis.start()
        servers = EmbeddedServers(
            postgres.url, redis.url, folder, postgres.pid or 0, redis.pid or 0, True, postgres, redis, lock
        )
    except BaseException:
        for server in (postgres, redis):
            if server is not None:
                server.stop("immediate")
        lock.release()
        raise
    atexit.register(servers.stop)
    return servers


def _dead_servers(folder: Path) -> list[str]:
    """Those that are written down as running, and do not. One that is being started is not written down yet."""
    pids = {key: int(read_state(folder, key).get("pid") or 0) for key in (PostgresServer.key, RedisServer.key)}
    return [key for key, pid in pids.items() if pid and not _alive(pid)]


def _attach(folder: Path, holder: int | None) -> EmbeddedServers | None:
    """The holder's servers, if it lives and both answer to the passwords of this folder."""
    if holder is None or not _alive(holder):
        return None
    with contextlib.suppress(OSError):
        postgres, redis = PostgresServer(folder), RedisServer(folder)
        pids = []
        for server in (postgres, redis):
            state = read_state(folder, server.key)
            server.port, server.password = int(state.get("port") or 0), str(state.get("password") or "")
            pids.append(int(state.get("pid") or 0))
        if (
            all(pids)
            and redis_answers(redis.port, redis.password)
            and postgres_answers(postgres.port, postgres.password)
        ):
            return EmbeddedServers(postgres.url, redis.url, folder, pids[0], pids[1], False)
    return None


def _alive(pid: int) -> bool:
    """Whether the process exists and is not dead already, waiting for its parent to notice."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError, IndexError):
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            not in "ZX"
        )
    return True


def _make_folder(folder: Path) -> Path:
    """The folder, made if it is missing, absolute, and such that the servers can live in it."""
    advice = "choose another with data_dir or SCHEDULER_DATA_DIR"
    try:
        folder = folder.expanduser().resolve()
        created = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise EmbeddedServerError(f"the data folder {folder} is a file; {advice}") from None
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EmbeddedServerError(f"the data folder {folder} can't be made: {reason}; {advice}") from None
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise EmbeddedServerError(f"the data folder {folder} can't be written; {advice}")
    identity = choose_identity()
    if identity == "namespace" and folder.stat().st_uid == NOBODY:
        os.chown(folder, 0, 0)  # an earlier run gave it to nobody; without root's privileges we could not enter it
    if identity == "nobody":
        if created:
            os.chown(folder, NOBODY, NOBODY)
        if not reachable(folder):
            raise EmbeddedServerError(
                f"the servers run as user nobody here (user namespaces are refused), who can't enter {folder}; {advice}"
            )
    return folder


class _FolderLock:
    """The folder's one holder. Its pid stands in the file, for the others' messages only: the kernel decides."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self.descriptor: int | None = None
        self._owner = 0

    @property
    def ours(self) -> bool:
        """Whether this process holds it: a forked child does not."""
        return self.descriptor is not None and self._owner == os.getpid()

    def acquire(self) -> bool:
        """Take it if it is free."""
        descriptor: int | None = None
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES) and descriptor is not None:
                return False
            raise EmbeddedServerError(
                f"the data folder {self._path.parent} can't be locked: {error.strerror}; "
                f"choose another with data_dir or SCHEDULER_DATA_DIR"
            ) from None
        self.descriptor, self._owner = descriptor, os.getpid()
        _held.add(descriptor)
        return True

    def holder(self) -> int | None:
        """Who has it, as far as that is written down."""
        try:
            return int(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Give it back."""
        if self.ours and self.descriptor is not None:
            _held.discard(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = None


_held: set[int] = set()


def _let_go_in_child() -> None:
    """A forked child must not keep the folder locked after its parent's death."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)

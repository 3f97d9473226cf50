"""The embedded Redis, or Valkey: the same protocol, told apart only where their files differ."""

from __future__ import annotations

import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from scheduler_core.storage.embedded.process import Plan
from scheduler_core.storage.embedded.programs import Binaries, RedisKind, find_redis, give, readable_binaries
from scheduler_core.storage.embedded.server import HOST, Server, StopMode, write_private

DATABASES = 64


class RedisServer(Server):
    """A Redis-compatible server of one's own."""

    name = "Redis"
    key = "redis"
    program_names = ("redis-server", "valkey-server")
    plans: ClassVar[dict[StopMode, Plan]] = {
        "fast": [(signal.SIGTERM, 5), (signal.SIGKILL, 5)],
        "immediate": [(signal.SIGKILL, 5)],
    }
    orphan_plan: ClassVar[Plan] = [(signal.SIGTERM, 2), (signal.SIGKILL, 2)]
    death_signal = signal.SIGKILL  # a SIGTERM is refused while the folder can't be written

    def __init__(self, folder: Path | str, *, kind: RedisKind | None = None, lock_fd: int | None = None) -> None:
        """See Server. kind: which program to use; None for the best one that is installed."""
        super().__init__(folder, lock_fd=lock_fd)
        self.kind = kind
        self._binary = Path()

    @property
    def url(self) -> str:
        """redis://:PASSWORD@127.0.0.1:PORT/0."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def answers(self) -> bool:
        """Whether it accepts our password and has loaded its data."""
        return redis_answers(self.port, self.password)

    def _prepare(self, new_password: bool) -> None:
        _ = new_password  # it is read from the file at each start
        path, self.kind = find_redis(self.kind)
        package = path.parent.parent
        binaries = Binaries(path.parent, package, (str(path.relative_to(package)),))
        folder = readable_binaries(binaries, path.name, self.folder / "programs", self.identity)
        self._binary = folder / path.name
        self.data.mkdir(mode=0o700, exist_ok=True)

    def _argv(self) -> Sequence[str]:
        # Its paths are relative to the folder that it is started in, so that no name needs quoting. The two kinds can't
        # read each other's newer dumps.
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "requirepass": self.password,
            "dir": "./",
            "dbfilename": f"{self.kind}.rdb",
            "save": "60 1",
            "appendonly": "no",
            "stop-writes-on-bgsave-error": "no",
            "databases": str(DATABASES),
            "daemonize": "no",
            "logfile": '""',
        }
        write_private(self.data / "server.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))
        give(self.data / "server.conf", self.identity)
        give(self.data, self.identity)
        return [str(self._binary), "server.conf"]


def redis_answers(port: int, password: str) -> bool:
    """Log in and ping."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode())
            received = b""
            while chunk := connection.recv(4096):
                received += chunk
    except OSError:
        return False
    return received.startswith(b"+OK\r\n+PONG\r\n")

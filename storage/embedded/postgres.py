"""The embedded PostgreSQL."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import shutil
import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from scheduler_core.domain.errors import EmbeddedServerError
from scheduler_core.storage.embedded.process import Plan, clear_strays
from scheduler_core.storage.embedded.programs import find_postgres, give, readable_binaries
from scheduler_core.storage.embedded.server import HOST, Server, StopMode, write_private

USER = "postgres"
"""Not the schema's name: `"$user"` comes first where Postgres finds names, and a user's tables would land in ours."""

DATABASE = "scheduler"
OURS = frozenset({"listen_addresses", "port", "unix_socket_directories", "data_directory"})
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "client_connection_check_interval": "100ms",  # a backend notices within this that its client died
    "logging_collector": "off",
}
_PROTOCOL = 196_608  # version 3.0


class PostgresServer(Server):
    """A PostgreSQL of one's own: the user is called postgres, the database scheduler."""

    name = "PostgreSQL"
    key = "postgres"
    program_names = ("postgres",)
    plans: ClassVar[dict[StopMode, Plan]] = {
        "fast": [(signal.SIGINT, 15), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)],
        "immediate": [(signal.SIGQUIT, 5), (signal.SIGKILL, 5)],
    }
    orphan_plan: ClassVar[Plan] = [(signal.SIGINT, 2.5), (signal.SIGQUIT, 1), (signal.SIGKILL, 2)]
    death_signal = signal.SIGQUIT  # the postmaster takes its children along, without a last checkpoint

    def __init__(
        self, folder: Path | str, *, settings: Mapping[str, str] | None = None, lock_fd: int | None = None
    ) -> None:
        """See Server. settings: of postgresql.conf; they win over ours, except for the address."""
        super().__init__(folder, lock_fd=lock_fd)
        self.settings = {**SETTINGS, **(settings or {})}
        self._programs = Path()
        for name in self.settings:
            if name in OURS or not re.fullmatch(r"[a-z_][a-z0-9_.]*", name):
                raise EmbeddedServerError(f"{name!r} can't be set for the embedded PostgreSQL; leave it out")

    @property
    def url(self) -> str:
        """postgresql://postgres:PASSWORD@127.0.0.1:PORT/scheduler."""
        return f"postgresql://{USER}:{self.password}@{HOST}:{self.port}/{DATABASE}"

    def answers(self) -> bool:
        """Whether a client gets in with our password and the database is ready."""
        return postgres_answers(self.port, self.password)

    def _prepare(self, new_password: bool) -> None:
        self._programs = readable_binaries(find_postgres(), "postgres", self.folder / "programs", self.identity)
        if not (self.data / "PG_VERSION").exists():
            self._create()
        elif new_password:
            give(self.data, self.identity)
            self._sql(self.data, f"ALTER ROLE {USER} PASSWORD '{self.password}'")
        self._drop_foreign_pid_file()
        give(self.data, self.identity)

    def _create(self) -> None:
        """Make the database cluster beside its place and move it there when it is complete."""
        if self.data.exists():
            raise EmbeddedServerError(
                f"{self.data} exists, but is no PostgreSQL data folder; move it away, or choose another data_dir"
            )
        half = self.folder / "postgres.new"
        clear_strays(half, self.program_names)
        if half.exists():
            shutil.rmtree(half)
        half.mkdir(mode=0o700)
        give(half, self.identity)
        password_file = self.folder / "postgres.password"
        write_private(password_file, self.password)
        give(password_file, self.identity)
        try:
            self._run(
                [
                    str(self._programs / "initdb"),
                    f"--pgdata={half}",
                    f"--username={USER}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--no-instructions",
                ],
                half,
            )
        finally:
            password_file.unlink(missing_ok=True)
        self._sql(half, f"CREATE DATABASE {DATABASE}")
        half.rename(self.data)

    def _sql(self, data: Path, statement: str) -> None:
        """Run a statement while no server runs: the program itself, as a single user's."""
        self._run([str(self._programs / "postgres"), "--single", "-D", str(data), "postgres"], data, statement + "\n")

    def _drop_foreign_pid_file(self) -> None:
        """Remove what a crash left behind if its pid belongs to another program by now.

        Postgres starts over a pid file of a dead process by itself, but not of a living one. None of the living works
        in our folder: `clear_strays` has seen to that.
        """
        pid_file = self.data / "postmaster.pid"
        if Path("/proc/self/cwd").exists():
            pid_file.unlink(missing_ok=True)

    def _argv(self) -> Sequence[str]:
        settings = {
            **self.settings,
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self.data), *flags]


def postgres_answers(port: int, password: str, user: str = USER, database: str = DATABASE) -> bool:
    """Log in as a client does, and see that the server knows the password too: then it is the right one."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            return _log_in(connection, password, user, database)
    except (OSError, ValueError, KeyError, struct.error):
        return False


def _log_in(connection: socket.socket, password: str, user: str, database: str) -> bool:
    """SCRAM-SHA-256 (RFC 7677) in Postgres' frames."""
    words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database)) + b"\0"
    connection.sendall(struct.pack("!ii", len(words) + 8, _PROTOCOL) + words)
    _expect(connection, 10)

    first = f"n=,r={secrets.token_urlsafe(18)}"
    payload = b"SCRAM-SHA-256\0" + struct.pack("!i", len(first) + 3) + b"n,," + first.encode()
    _send(connection, b"p", payload)
    challenge = _expect(connection, 11).decode()
    values = dict(part.split("=", 1) for part in challenge.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(values["s"]), int(values["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = f"c=biws,r={values['r']}"
    message = f"{first},{challenge},{without_proof}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    _send(connection, b"p", f"{without_proof},p={base64.b64encode(proof).decode()}".encode())

    verdict = _expect(connection, 12)
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    if base64.b64decode(verdict[2:]) != hmac.digest(server_key, message, "sha256"):
        return False
    _expect(connection, 0)
    while True:
        kind, _ = _receive(connection)
        if kind == b"Z":
            _send(connection, b"X", b"")
            return True
        if kind == b"E":
            return False


def _send(connection: socket.socket, kind: bytes, payload: bytes) -> None:
    connection.sendall(kind + struct.pack("!i", len(payload) + 4) + payload)


def _receive(connection: socket.socket) -> tuple[bytes, bytes]:
    header = _exactly(connection, 5)
    return header[:1], _exactly(connection, struct.unpack("!i", header[1:])[0] - 4)


def _expect(connection: socket.socket, step: int) -> bytes:
    """The payload of the authentication's next step. Raises ValueError if the server says something else."""
    kind, payload = _receive(connection)
    if kind != b"R" or struct.unpack("!i", payload[:4])[0] != step:
        raise ValueError("the server refuses")
    return payload[4:]


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionError("the server hung up")
        received += chunk
    return received

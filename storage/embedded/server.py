"""What both servers have in common: a port and a password that are kept, a start, an end, a violent end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from scheduler_core.domain.errors import EmbeddedServerError
from scheduler_core.storage.embedded.process import ChildProcess, Plan, Program, clear_strays
from scheduler_core.storage.embedded.programs import Identity, choose_identity

HOST = "127.0.0.1"
START_TIMEOUT = 30.0
FIRST_PORT = 20_000
PORT_ATTEMPTS = 5

StopMode = Literal["fast", "immediate"]


class Server(ABC):
    """One server on 127.0.0.1 with its data in a folder; it can be ended and started again on the same port.

    Port and password stand in a file beside the data that only the owner can read. Not meant for two threads at once,
    but `stop` may come from any thread.
    """

    name: ClassVar[str]
    key: ClassVar[str]
    program_names: ClassVar[Sequence[str]]
    plans: ClassVar[dict[StopMode, Plan]]
    orphan_plan: ClassVar[Plan]
    death_signal: ClassVar[int]

    def __init__(self, folder: Path | str, *, lock_fd: int | None = None) -> None:
        """Remember where; nothing is started or written yet.

        Parameters: folder, the data folder (it may be shared by one server of each kind); lock_fd, a lock's descriptor
        which the started processes keep open as long as they live.
        """
        self.folder = Path(folder).absolute()
        self.data = self.folder / self.key
        self.port = 0
        self.password = ""
        self.identity: Identity = "keep"
        self._lock_fd = lock_fd
        self._process: ChildProcess | None = None
        self._pinned = False
        self._guard = threading.RLock()

    def __repr__(self) -> str:
        """Without the password."""
        return f"{type(self).__name__}({HOST}:{self.port}, pid={self.pid}, {str(self.folder)!r})"

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect to, with the password."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it accepts a client with our password and serves it."""

    @abstractmethod
    def _prepare(self, new_password: bool) -> None:
        """Make the data folder ready for a start."""

    @abstractmethod
    def _argv(self) -> Sequence[str]:
        """The server's command line. Everybody on the machine can read it."""

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.running else None

    def start(self) -> Self:
        """Start it and wait until it answers; nothing happens if it runs already.

        The first start may move to another port if somebody has taken the old one; later ones keep it, since clients
        know it by then. Raises EmbeddedServerError.
        """
        with self._guard:
            if self.pid is not None:
                return self
            try:
                self._start()
            except OSError as error:
                raise EmbeddedServerError(
                    f"{self.name} can't use the data folder {self.folder}: {error.strerror or error}; "
                    f"choose another with data_dir or SCHEDULER_DATA_DIR"
                ) from None
            return self

    def _start(self) -> None:
        self.identity = choose_identity()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        clear_strays(self.data, self.program_names)
        state = read_state(self.folder, self.key)
        known = bool(state.get("password"))
        self.password = str(state["password"]) if known else secrets.token_hex(16)
        if not self._pinned:
            self.port = int(state.get("port") or 0)
        if not known:
            write_state(self.folder, self.key, {"port": self.port, "password": self.password, "pid": None})
        self._prepare(not known)
        for attempt in range(PORT_ATTEMPTS):
            if not self._pinned and (attempt or not port_is_free(self.port)):
                self.port = free_port()
            try:
                self._launch()
            except EmbeddedServerError as error:
                if self._pinned or attempt + 1 == PORT_ATTEMPTS or "already in use" not in str(error):
                    raise
            else:
                break

    def _launch(self) -> None:
        process = ChildProcess(self._program(self._argv(), self.data))
        try:
            process.wait_ready(self.answers, START_TIMEOUT)
            write_state(self.folder, self.key, {"port": self.port, "password": self.password, "pid": process.pid})
        except BaseException:
            process.stop(self.plans["immediate"])
            raise
        self._process = process
        self._pinned = True

    def stop(self, mode: StopMode = "fast") -> None:
        """End it and wait for that: `fast` in good order, `immediate` as in a crash. It may be started again."""
        with self._guard:
            if self._process is not None:
                self._forget_pid()
                self._process.stop(self.plans[mode])
                self._process = None

    def kill(self) -> None:
        """Kill its main process with SIGKILL, as a fault would, and wait until that is gone."""
        with self._guard:
            if self._process is not None:
                self._process.stop([(signal.SIGKILL, 10)])
                self._process = None

    def signal(self, number: int) -> None:
        """Send its main process a signal: SIGSTOP and SIGCONT make a server that hangs."""
        if self._process is not None:
            self._process.signal(number)

    def restart(self, mode: StopMode = "fast") -> Self:
        """Stop it and start it again, on the same port."""
        self.stop(mode)
        return self.start()

    def _forget_pid(self) -> None:
        """Nobody shall attach to a server that is about to end."""
        with contextlib.suppress(OSError):
            write_state(self.folder, self.key, {"port": self.port, "password": self.password, "pid": None})

    def _program(self, argv: Sequence[str], cwd: Path, text: str = "", name: str | None = None) -> Program:
        return Program(
            name=name or self.name,
            argv=argv,
            cwd=cwd,
            log=self.folder / f"{self.key}.log",
            identity=self.identity,
            orphan_plan=self.orphan_plan,
            death_signal=self.death_signal,
            secrets=(self.password,),
            text=text,
            lock_fd=self._lock_fd,
        )

    def _run(self, argv: Sequence[str], cwd: Path, text: str = "") -> None:
        """Run a helper program to its end."""
        name = os.path.basename(argv[0])
        process = ChildProcess(self._program(argv, cwd, text, name))
        try:
            status = process.wait(START_TIMEOUT)
        except BaseException:
            process.stop([(signal.SIGKILL, 5)])
            raise
        if status != 0:
            raise EmbeddedServerError(f"{name} failed with status {status}: {process.log_tail()}")


def read_state(folder: Path, key: str) -> dict[str, Any]:
    """A server's kept port, password and pid; empty if there is none that can be read as such."""
    try:
        state = json.loads((folder / f"{key}.json").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(folder: Path, key: str, state: dict[str, Any]) -> None:
    """Keep it, readable by the owner only; readers see the old or the new, never half of it."""
    path = folder / f"{key}.json"
    half = path.with_name(path.name + ".new")
    write_private(half, json.dumps(state))
    half.replace(path)


def write_private(path: Path, text: str) -> None:
    """Write a file that only the owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def port_is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    if port == 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port below those that the kernel gives to outgoing connections.

    From that range a client that keeps trying while the server is down would sooner or later be connected to
    itself, and the server could not come back to its port.
    """
    try:
        limit = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        limit = 32_768
    for _ in range(200 if limit > FIRST_PORT + 100 else 0):
        port = random.randrange(FIRST_PORT, limit)
        if port_is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

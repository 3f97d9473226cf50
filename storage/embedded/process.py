"""This side of the launcher: one program that lives no longer than we do."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler_core.domain.errors import EmbeddedServerError

LAUNCHER = Path(__file__).with_name("launcher.py")
LOG_LIMIT = 5_000_000
TAIL_BYTES = 4_000
TAIL_LINES = 6

Plan = Sequence[tuple[int, float]]
"""Signals in order of severity, each with the seconds it is given."""


@dataclass(frozen=True, slots=True)
class Program:
    """What the launcher is to start, and as whom."""

    name: str
    argv: Sequence[str]
    cwd: Path
    log: Path
    identity: str
    orphan_plan: Plan
    death_signal: int
    secrets: Sequence[str] = ()
    text: str = ""
    lock_fd: int | None = None


class ChildProcess:
    """A started program: its pid, signals to it, and its end.

    `lock_fd` is inherited by the launcher, so the folder's lock lasts as long as the program does, also when
    this process is gone already.
    """

    def __init__(self, program: Program) -> None:
        """Start it. Raises EmbeddedServerError if it can't be executed."""
        self.program = program
        self.exit_status: int | None = None
        self._received = b""
        self._log_start = _prepare_log(program.log)
        spec = {
            "argv": [str(part) for part in program.argv],
            "env": _environment(),
            "cwd": str(program.cwd),
            "log": str(program.log),
            "identity": program.identity,
            "input": program.text,
            "orphan_plan": [[int(number), patience] for number, patience in program.orphan_plan],
            "death_signal": int(program.death_signal),
            "lock_fd": program.lock_fd,
        }
        self._launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=() if program.lock_fd is None else (program.lock_fd,),
            start_new_session=True,  # Ctrl-C is for the application, not for its servers
            bufsize=0,
        )
        _alive.add(self)
        self._send(spec)
        answer = self._answer(time.monotonic() + 10)
        if answer is None or "pid" not in answer:
            self._finish()
            reason = (answer or {}).get("error", "no answer from the launcher")
            raise EmbeddedServerError(f"{program.name} can't be started: {reason}")
        self.pid: int = answer["pid"]

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self.exit_status is None:
            self._take(self._answer(time.monotonic()))
        return self.exit_status is None

    def signal(self, number: int) -> None:
        """Send a signal. The launcher does it, whose child it is: the pid can't be somebody else's by now."""
        if self.running:
            self._send({"signal": int(number)})

    def stop(self, plan: Plan) -> None:
        """End it by the plan's signals and wait until it has ended."""
        if self.running:
            self._send({"stop": [[int(number), patience] for number, patience in plan]})
            self.wait(sum(patience for _, patience in plan) + 5)

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit status. Raises EmbeddedServerError after `seconds`."""
        deadline = time.monotonic() + seconds
        while self.exit_status is None:
            answer = self._answer(deadline)
            self._take(answer)
            if answer is None and self.exit_status is None:
                raise EmbeddedServerError(
                    f"{self.program.name} (process {self.pid}) has not ended after {seconds:.0f} s; "
                    f"end it by hand, then start again"
                )
        return self.exit_status

    def wait_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready` says so. Raises EmbeddedServerError with the log's end if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise EmbeddedServerError(
                    f"{self.program.name} ended at its start with status {self.exit_status}: {self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"{self.program.name} does not answer after {seconds:.0f} s: {self.log_tail()}"
                )
            time.sleep(0.01)

    def log_tail(self) -> str:
        """The last lines that this start wrote, on one line and without passwords."""
        try:
            with self.program.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, end - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError as error:
            return f"its log can't be read ({error.strerror})"
        for secret in self.program.secrets:
            text = text.replace(secret, "***")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"{' | '.join(lines[-TAIL_LINES:]) or 'it wrote nothing'} (log: {self.program.log})"

    def _send(self, what: Mapping[str, Any]) -> None:
        assert self._launcher.stdin is not None
        with contextlib.suppress(OSError):  # the launcher may end at this moment: its last answer says why
            self._launcher.stdin.write(json.dumps(what).encode() + b"\n")

    def _answer(self, deadline: float) -> dict[str, Any] | None:
        """The launcher's next line; None when there is none until the deadline. Its end counts as `exit`."""
        assert self._launcher.stdout is not None
        descriptor = self._launcher.stdout.fileno()
        while b"\n" not in self._received:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            if not poller.poll(max(0, int((deadline - time.monotonic()) * 1000))):
                return None
            received = os.read(descriptor, 4096)
            if not received:  # killed: the kernel has sent the program its death signal
                return {"exit": -signal.SIGKILL}
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _take(self, answer: Mapping[str, Any] | None) -> None:
        if answer is not None and "exit" in answer:
            self.exit_status = answer["exit"]
            self._finish()

    def _finish(self) -> None:
        self.abandon()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._launcher.wait(10)

    def abandon(self) -> None:
        """Close our ends of the pipes."""
        for stream in (self._launcher.stdin, self._launcher.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


_alive: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


def _abandon_in_child() -> None:
    """A forked child holds none of our pipes: the servers are its parent's."""
    for process in list(_alive):
        process.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_in_child)


def _environment() -> dict[str, str]:
    """What servers see: nothing of the application's secrets, and no PG… variable that would lead them astray."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _prepare_log(log: Path) -> int:
    """Put a log that has grown large aside; return where the coming start's lines will begin."""
    try:
        size = log.stat().st_size
    except OSError:
        return 0
    if size < LOG_LIMIT:
        return size
    log.replace(log.with_name(log.name + ".1"))
    return 0


def strays(folder: Path, names: Sequence[str]) -> list[int]:
    """Processes that work in the folder as one of these programs, whoever started them. Linux only."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "cwd") == str(folder) and _program_of(entry) in {*names, None}:
                found.append(int(entry.name))
    return found


def _program_of(entry: Path) -> str | None:
    """The name of a process's program. None while it is ending: it has no program then, but its shared memory still,
    and Postgres does not start beside that.
    """
    try:
        return os.path.basename(os.readlink(entry / "exe").removesuffix(" (deleted)"))
    except FileNotFoundError:
        return None


def clear_strays(folder: Path, names: Sequence[str], seconds: float = 8.0) -> None:
    """Wait for what an earlier holder left behind to end; end it if it does not.

    Only called by the holder of the folder's lock, so these have lost whoever started them; and only for processes
    that both are this server's program and work in this very folder.
    """
    folder = folder.resolve()
    start = time.monotonic()
    sent: set[tuple[int, int]] = set()
    while pids := strays(folder, names):
        waited = time.monotonic() - start
        if waited > seconds:
            raise EmbeddedServerError(
                f"process {pids[0]} of an earlier start still works in {folder}; end it by hand, then start again"
            )
        number = signal.SIGKILL if waited > seconds / 2 else signal.SIGQUIT if waited > 1 else None
        for pid in pids:
            if number is not None and (pid, number) not in sent:
                sent.add((pid, number))
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        time.sleep(0.02)

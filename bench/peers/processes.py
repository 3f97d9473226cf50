"""Processes of a peer: each in a group of its own, which is ended whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSIDE = Path(__file__).with_name("inside.py")
READY_SECONDS = 30.0
END_SECONDS = 10.0


class TrialError(RuntimeError):
    """A measure came to nothing; the message says why."""


class TooSlowError(TrialError):
    """It might come to something with more time."""


@dataclass(frozen=True)
class Inside:
    """How to call into one peer's environment for one measure."""

    python: Path
    peer: str
    mode: str
    database_url: str
    redis_url: str
    folder: Path

    def ask(self, command: str, limit: float, **options: float) -> dict[str, Any]:
        """Run one command to its end. Raises TooSlowError at the limit, TrialError if it fails."""
        with self._start(command, limit, options, subprocess.PIPE) as process:
            try:
                out, _ = process.communicate(timeout=limit + END_SECONDS)
            except subprocess.TimeoutExpired:
                raise TooSlowError(f"{self.peer} {command} did not end in {limit:.0f} s") from None
            if process.returncode == -signal.SIGALRM:
                raise TooSlowError(f"{self.peer} {command} did not end in {limit:.0f} s")
            if process.returncode != 0:
                raise TrialError(f"{self.peer} {command} failed: {self.last_words(command)}")
            answer: dict[str, Any] = json.loads(out.splitlines()[-1])
            return answer

    @contextmanager
    def work(self, limit: float, **options: float) -> Iterator[subprocess.Popen[bytes]]:
        """One of the peer's processes, ended with the block."""
        with self._start("work", limit, options, subprocess.DEVNULL) as process:
            yield process

    def await_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Raises TrialError if it ends or takes too long."""
        ends_at = time.monotonic() + READY_SECONDS
        while not (self.folder / f"ready-{process.pid}").exists():
            if process.poll() is not None:
                raise TrialError(f"{self.peer} work ended at once: {self.last_words('work')}")
            if time.monotonic() > ends_at:
                raise TrialError(f"{self.peer} work was not ready in {READY_SECONDS:.0f} s")
            time.sleep(0.02)

    def last_words(self, command: str) -> str:
        lines = (self.folder / f"{command}.log").read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it said nothing")

    @contextmanager
    def _start(
        self, command: str, limit: float, options: dict[str, float], stdout: int
    ) -> Iterator[subprocess.Popen[bytes]]:
        given = {
            "database-url": self.database_url,
            "redis-url": self.redis_url,
            "folder": self.folder,
            "mode": self.mode,
            "limit": limit,
        }
        given |= {name.replace("_", "-"): value for name, value in options.items()}
        arguments = [f"--{name}={value}" for name, value in given.items()]
        with (self.folder / f"{command}.log").open("ab") as log:
            process = subprocess.Popen(
                [self.python, "-P", INSIDE, self.peer, command, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            end(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, to its children too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_SECONDS)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL to what is left of its group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    kill(process)
    if process.stdout is not None:
        process.stdout.close()

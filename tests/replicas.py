"""Real replica processes for tests, and an app whose callbacks write down that they were called."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg
from commands import Running, Started, start_anew
from waiting import eventually

LIVING = """
SELECT pid FROM scheduler.instances WHERE ended_at IS NULL AND scheduler.witness_held(life_key)
"""

LEADER_PID = """
SELECT i.pid, l.term FROM scheduler.leader l JOIN scheduler.instances i USING (instance_id)
WHERE l.nonce IS NOT NULL AND scheduler.witness_held(i.life_key)
"""


class Replicas:
    """Replica processes of one app, ended with the test.

    Parameters: starts_anew, whether each has an interpreter of its own: where other code, or other time zones, are to
    be found than those that this process has.
    """

    def __init__(self, environment: Mapping[str, str], app: str, logs: Path, *, starts_anew: bool = False) -> None:
        self._start = start_anew if starts_anew else Started
        self.environment = dict(environment)
        self.app = app
        self.logs = logs
        self.processes: list[Running] = []
        self._started = 0

    def start(self, count: int = 1, **variables: str) -> list[Running]:
        """Start replicas, with these variables in their environment."""
        new = []
        for _ in range(count):
            process = self._start(
                *("run", "--app", self.app),
                environment=self.environment | variables,
                folder=self.logs,
                log=self.logs / f"replica-{self._started}.log",
            )
            self.processes.append(process)
            self._started += 1
            new.append(process)
        return new

    def wait_for(self, sql: psycopg.Connection[object], count: int) -> None:
        """Wait until so many take part and one of them leads."""
        eventually(
            lambda: len(sql.execute(LIVING).fetchall()) >= count and sql.execute(LEADER_PID).fetchone(),
            within_seconds=30,
            what=f"{count} replicas with a leader; logs in {self.logs}",
        )

    def leader(self, sql: psycopg.Connection[object]) -> tuple[Running, int]:
        """The leader's process and term."""
        pid, term = eventually(lambda: sql.execute(LEADER_PID).fetchone(), what="a leader")  # type: ignore[misc]
        return next(p for p in self.processes if p.pid == pid), term

    def stop(self) -> None:
        """End all, kindly, then by force."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def witness(line: str) -> None:
    """Append a line to the witness file: one write, so lines of several processes never mix."""
    file = os.open(os.environ["WITNESS_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def witnessed(environment: Mapping[str, str]) -> list[str]:
    """The lines of the witness file."""
    path = Path(environment["WITNESS_FILE"])
    return path.read_text().splitlines() if path.exists() else []

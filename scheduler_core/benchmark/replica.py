"""What is measured: `scheduler run` processes of their own, which have no jobs but those in Postgres."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scheduler_core.benchmark import callbacks, processes
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.runtime.child_processes import die_with_parent
from scheduler_core.settings import Settings

APP = callbacks.__name__
STOP_TIMEOUT_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Replica:
    """A running replica process. Parameters: log, what it says; notes, the file that its callbacks' notes go to."""

    process: subprocess.Popen[bytes]
    log: Path
    notes: Path
    started_monotonic: float

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def age_seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self.started_monotonic

    def cpu_seconds(self) -> float | None:
        """Its CPU time so far."""
        return processes.cpu_seconds(self.pid)

    def memory_megabytes(self) -> float | None:
        """What it keeps resident now."""
        return processes.memory_megabytes(self.pid)

    def require_alive(self) -> None:
        """Raises SchedulerError with the last line of its log if it has ended."""
        if self.process.poll() is not None:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise SchedulerError(f"the measured replica ended with {self.process.returncode}: {' '.join(said)}")

    async def stop(self) -> None:
        """Let it drain and end; by force if that takes too long."""
        self.process.terminate()
        try:
            await asyncio.to_thread(self.process.wait, STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)

    def read_notes(self, since: datetime, until: datetime) -> Iterator[float]:
        """How many milliseconds late each call came that was due in [since, until). Only after it has ended."""
        if self.notes.exists():
            yield from (late_ms for due, late_ms in callbacks.read_notes(self.notes) if since <= due < until)


def start_replica(settings: Settings, folder: Path, name: str) -> Replica:
    """Start the process; it takes part as soon as it has connected."""
    own = {
        "SCHEDULER_DATABASE_URL": settings.database_url or "",
        "SCHEDULER_CONTROL_DATABASE_URL": settings.control_database_url or "",
        "SCHEDULER_REDIS_URL": settings.redis_url or "",
        "SCHEDULER_SCHEMA": str(settings.schema),
        "SCHEDULER_TIMEZONE": "UTC",
        "SCHEDULER_LOG_LEVEL": "WARNING",
        "SCHEDULER_ALLOWED_CALLBACKS": json.dumps([APP]),
        "SCHEDULER_APPLICATION": settings.application_name,
        callbacks.NOTES_VARIABLE: str(folder / f"{name}.notes"),
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SCHEDULER_")} | own
    log = folder / f"{name}.log"
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "scheduler_core.cli", "run", "--app", APP],
            env=environment,
            # Where no scheduler.toml of the user's says otherwise.
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - it only makes system calls
        )
    return Replica(process, log, Path(own[callbacks.NOTES_VARIABLE]), began)

"""What a test looks at: one run, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from scheduler_core.domain.runs.run import Failure, Origin, RunStatus


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One occurrence and what became of it; the names are those of the audit view `runs`.

    A `missed` run stands for `missed_count` occurrences from `missed_from` to `scheduled_for`. All instants are by
    the virtual clock, in UTC.

    Attributes:
        run_id: Its own id.
        job_id: Which job's.
        scheduled_for: The occurrence's instant.
        due_at: Later than `scheduled_for` by the jitter.
        origin: Why it exists.
        status: Where it stands.
        reason: Why it stands there, as `misfire` or `overlap`; None where there is nothing to say.
        attempts: How many have ended.
        started_at: When its first attempt began; None before.
        finished_at: When it ended; None before.
        next_attempt_at: When the next attempt is made; None where none waits.
        failures: One for each attempt that failed, in order, each with its type, message and traceback.
        missed_count: How many occurrences a `missed` run stands for; None for any other.
        missed_from: The first of these; None for any other run.
    """

    run_id: UUID
    job_id: str
    scheduled_for: datetime
    due_at: datetime
    origin: Origin
    status: RunStatus
    reason: str | None = None
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    next_attempt_at: datetime | None = None
    failures: tuple[Failure, ...] = ()
    missed_count: int | None = None
    missed_from: datetime | None = None

    @property
    def lateness(self) -> timedelta | None:
        """From `scheduled_for` to the start; None for a run that did not start."""
        return None if self.started_at is None else self.started_at - self.scheduled_for

    @property
    def duration(self) -> timedelta | None:
        """From the first attempt's start to the end, waits for retries included; None before the end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at

    @property
    def error(self) -> str | None:
        """The last failure on one line; None when no attempt failed."""
        return self.failures[-1].summary if self.failures else None

"""A run: the record of one occurrence, and the values that travel with it.

One occurrence `(job_id, scheduled_for)` has one run, whatever happened to it. A run is attempted at most
`max_retries + 1` times; an attempt whose owner died is `lost` and counted apart, as a delivery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from scheduler_core.domain.errors import RunNotFoundError
from scheduler_core.domain.value import value
from scheduler_core.domain.wording import shown


class RunStatus(StrEnum):
    """Where a run stands. The first four are unfinished; a run never leaves one of the others."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSED = "missed"
    LOST = "lost"
    CANCELLED = "cancelled"

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended, and so stays as it is."""
        return self not in UNFINISHED


UNFINISHED = frozenset({RunStatus.PENDING, RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.RETRYING})


class Origin(StrEnum):
    """Why a run exists."""

    SCHEDULE = "schedule"
    TRIGGER = "trigger"
    BACKFILL = "backfill"
    RERUN = "rerun"


class LoggerLike(Protocol):
    """As much of a stdlib logger as we use; any object with these methods will do."""

    def debug(self, msg: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def info(self, msg: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def warning(self, msg: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def error(self, msg: str, /, *args: Any, **kwargs: Any) -> Any: ...


@value(frozen=True, slots=True)
class Run:
    """One unfinished run that this replica owns: what it takes to execute it.

    Attributes:
        run_id: Its own id, the same for every attempt.
        job_id: Which job's.
        scheduled_for: The occurrence's instant, in UTC.
        due_at: When it starts: later than `scheduled_for` by the jitter.
        origin: Why it exists.
        term: Of the leader that claimed or adopted it.
        definition_version: Of the job's definition by which it was planned.
        attempt: Attempts that ended by themselves so far.
        deliveries: Attempts whose owner died.
        next_attempt_at: When the next attempt is made, after one that failed; None where none waits.
        status: Where it stands.
        orphaned: Times that its owner died while nobody knew whether it had begun the run.
    """

    run_id: UUID
    job_id: str
    scheduled_for: datetime
    due_at: datetime
    origin: Origin
    term: int
    definition_version: int
    attempt: int = 0
    deliveries: int = 0
    next_attempt_at: datetime | None = None
    status: RunStatus = RunStatus.PENDING
    orphaned: int = 0

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this run, on whichever replica: hand it to the side effect."""
        return f"{self.job_id}@{self.scheduled_for.isoformat()}"


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a callback with a `ctx` parameter is told about the attempt that it is.

    Attributes:
        run_id: The run's id, the same for every attempt.
        job_id: Which job's.
        scheduled_for: The occurrence's instant, in UTC.
        attempt: The attempt's number, from 1.
        term: Grows with every leadership, so that a store on the callback's own side can refuse an older one.
        idempotency_key: The same for every attempt of the run, on whichever replica; hand it to the side effect.
        deadline: When `timeout` strikes; None without one.
        logger: Where the callback may log.
    """

    run_id: UUID
    job_id: str
    scheduled_for: datetime
    attempt: int
    term: int
    idempotency_key: str
    deadline: datetime | None
    logger: Any
    _still_owner: Callable[[], bool] = field(repr=False)
    _cancel_requested: Callable[[], bool] = field(repr=False, default=lambda: False)

    def still_owner(self) -> bool:
        """False once this replica can't be sure any more that no other one took the run over."""
        return self._still_owner()

    def cancel_requested(self) -> bool:
        """True once an operator asked for the run to be cancelled.

        A callback in a thread can't be stopped, and may look here and return.
        """
        return self._cancel_requested()


@dataclass(frozen=True, slots=True)
class Failure:
    """How one attempt failed, in values that can be stored."""

    outcome: str
    """`failed`, `timeout`, `cancelled` or `lost`."""
    error_type: str
    error_message: str
    traceback: str = ""

    @property
    def summary(self) -> str:
        return f"{self.error_type}: {self.error_message}" if self.error_message else self.error_type


@value(frozen=True, slots=True)
class Outcome:
    """One thing that happened to a run and is to be recorded.

    Either the run ended (`status` is a finished one), or an attempt failed and another follows (`retrying`,
    with `next_attempt_at`), or it began to last (`running`) or to wait (`queued`), or it goes back to whoever
    leads next (`pending`).
    """

    run: Run
    status: RunStatus
    attempt: int
    reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    next_attempt_at: datetime | None = None
    failure: Failure | None = None
    attempt_started_at: datetime | None = None
    definition_version: int | None = None
    """Of the definition that was called, where it is not the one that the run was planned by."""


def unattempted(run: Run, status: RunStatus, reason: str, now: datetime) -> Outcome:
    """The run ends without an attempt."""
    return Outcome(run, status, run.attempt, reason, finished_at=now)


def broken(run: Run, failure: Failure, now: datetime) -> Outcome:
    """The run ends by a failure of ours that no other attempt could mend."""
    return Outcome(run, RunStatus.FAILED, run.attempt + 1, "internal_error", now, now, failure=failure)


def handed_back(run: Run, reason: str | None = None) -> Outcome:
    """Back to whoever leads next."""
    return Outcome(run, RunStatus.PENDING, run.attempt, reason, next_attempt_at=run.next_attempt_at)


def run_uuid(run_id: UUID | str) -> UUID:
    """A run's id as it is typed; no run has one that can't be read (RunNotFoundError)."""
    try:
        return run_id if isinstance(run_id, UUID) else UUID(run_id)
    except (ValueError, AttributeError, TypeError):
        raise RunNotFoundError(f"there is no run {shown(run_id)}: a run's id is a UUID") from None

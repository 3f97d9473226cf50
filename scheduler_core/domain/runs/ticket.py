"""What travels between the leader and a worker: a ticket there, and what became of it back.

A ticket names one attempt and nothing else. Everything that the worker must know stands in Postgres; who delivers a
ticket twice, late, or to two workers, does no harm: one of them takes the attempt, and the others find it taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from scheduler_core.domain.runs.run import Failure, RunStatus

LOCAL = "local"
"""The executor that is none: the replica that leads calls the callback itself."""

REPLICAS = "replicas"
"""The executor that is every replica which can call the callback."""

OFFERED = frozenset({REPLICAS})
"""The executors whose runs lie in Postgres for whoever takes them."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One attempt that a worker is to make.

    Attributes:
        run_id: Which run's.
        attempt: Its number, from 1.
        term: Of the leader that gives it out; a successor that adopts the run makes it worthless.
    """

    run_id: UUID
    attempt: int
    term: int


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker has recorded. A hint: what is true stands in Postgres.

    Attributes:
        status: Where the run stands after the attempt.
        next_attempt_at: When the next attempt is made, after one that failed; None where none follows.
        failure: How the attempt failed; None if it did not.
    """

    status: RunStatus
    next_attempt_at: datetime | None = None
    failure: Failure | None = None


def status_after(failure: Failure | None, attempt: int, max_retries: int) -> RunStatus:
    """Where a run stands once its attempt of this number has ended: at most `max_retries` follow the first."""
    if failure is None:
        return RunStatus.SUCCEEDED
    return RunStatus.RETRYING if attempt <= max_retries else RunStatus.FAILED

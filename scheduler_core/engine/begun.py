"""Runs as this replica tells of them: a begun one, and the outcomes that the recorder writes. Time is a parameter."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from scheduler_core.domain.job import Delivery
from scheduler_core.domain.planning import StoredJob
from scheduler_core.domain.run import Failure, Outcome, Run, RunStatus


@dataclass(slots=True)
class Begun:
    """A run whose callback is being called here, or waits to be called again."""

    run: Run
    job: StoredJob
    started_at: datetime
    started_monotonic: float
    attempt_started_at: datetime
    number: int
    """Of the attempt that is being made, or was made last."""
    ended_attempts: int
    next_attempt_at: datetime | None = None
    """Set between two attempts: then nothing of the user's is executing."""
    calling: bool = False
    """Whether something of the user's is executing."""
    durable: bool = False
    still_owner: bool = True
    task: asyncio.Task[Any] | None = None
    """What executes the run; None once it has ended, and nothing can be cancelled any more."""
    stoppable: bool = True
    """Whether the callback is a coroutine: a thread can't be stopped."""
    cancel_requested: bool = False

    def outcome(self, status: RunStatus, failure: Failure | None, now: datetime) -> Outcome:
        """How the attempt of `number` ended."""
        return Outcome(
            self.run, status, self.number, None, self.started_at, now, None, failure, self.attempt_started_at
        )

    def lasting(self) -> Outcome:
        """Its callback is being called."""
        return Outcome(
            self.run,
            RunStatus.RUNNING,
            self.ended_attempts,
            started_at=self.started_at,
            attempt_started_at=self.attempt_started_at,
        )

    def returned(self) -> Outcome:
        """Back to whoever leads next, with the attempts that it has behind it."""
        return replace(returned(self.run), attempt=self.ended_attempts, next_attempt_at=self.next_attempt_at)

    def locked_elsewhere(self, now: datetime) -> Outcome:
        """Somebody else does the work."""
        return ended(replace(self.run, attempt=self.ended_attempts), RunStatus.SKIPPED, "locked", now)

    def cut_off(self, now: datetime) -> Outcome:
        """What becomes of a run that a stop cut off.

        Between two attempts it simply goes on elsewhere. Inside one, that attempt is over: the run goes on
        elsewhere with the next, unless it is at_most_once and nobody can tell how far it came.
        """
        if self.cancel_requested:
            stopped = "the callback was stopped" if self.stoppable else "the replica stopped while its thread executed"
            return self.cancelled_on_request(stopped, now)
        if not self.calling:
            return self.returned()
        failure = Failure("cancelled", "CancelledError", "the replica stopped before the attempt ended")
        if self.job.definition.delivery == Delivery.AT_MOST_ONCE:
            return replace(self.outcome(RunStatus.CANCELLED, failure, now), reason="stopped")
        return self.outcome(RunStatus.PENDING, failure, now)

    def cancelled_on_request(self, ending: str, now: datetime) -> Outcome:
        """An operator asked for it: the run has ended, whatever its attempt would still have come to."""
        if not self.calling:
            return ended(replace(self.run, attempt=self.ended_attempts), RunStatus.CANCELLED, "requested", now)
        failure = Failure("cancelled", "CancelledError", f"cancelled on request: {ending}")
        return replace(self.outcome(RunStatus.CANCELLED, failure, now), reason="requested")


def ended(run: Run, status: RunStatus, reason: str, now: datetime) -> Outcome:
    """The run ends without an attempt."""
    return Outcome(run, status, run.attempt, reason, finished_at=now)


def failed(run: Run, reason: str, failure: Failure, now: datetime) -> Outcome:
    """The run ends by a failure of ours that no other attempt could mend."""
    return Outcome(run, RunStatus.FAILED, run.attempt + 1, reason, now, now, failure=failure)


def returned(run: Run, reason: str | None = None) -> Outcome:
    """Back to whoever leads next."""
    return Outcome(run, RunStatus.PENDING, run.attempt, reason, next_attempt_at=run.next_attempt_at)

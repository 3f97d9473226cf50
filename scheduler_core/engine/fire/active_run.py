"""A run whose callback is being called here, or waits to be called again. Time is a parameter."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from scheduler_core.domain.jobs.job import Delivery
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.domain.runs.run import Failure, Outcome, Run, RunStatus, handed_back, unattempted


@dataclass(slots=True)
class ActiveRun:
    """A run whose callback is being called, or waits for its next attempt."""

    run: Run
    job: StoredJob
    """As it stood when the run began: what is called is this, and the record says which version it was."""
    started_at: datetime
    attempt_started_at: datetime
    started_monotonic: float
    """Seconds: when the attempt of `number` began, by the local clock."""
    number: int
    """Of the attempt that is being made, or was made last."""
    ended_attempts: int
    next_attempt_at: datetime | None = None
    """Set between two attempts: then nothing of the user's is executing."""
    is_calling: bool = False
    """Whether something of the user's is executing."""
    is_durable: bool = False
    """Whether Postgres knows that the attempt has begun, or may have."""
    is_noted: bool = False
    """Whether it knows when: what is taken ahead of its instant is durable before."""
    is_owned: bool = True
    """Whether, as far as this process knows, nobody else has taken the run."""
    is_stoppable: bool = True
    """Whether what executes is a coroutine: a thread can't be stopped."""
    task: asyncio.Task[Any] | None = None
    """What executes the run; None once it has ended, and nothing can be cancelled any more."""
    cancel_requested: bool = False
    """Whether an operator asked for the run to be cancelled."""
    stop_requested: bool = False
    """Whether this process is about to leave, and waits for the run no longer."""

    # Ending it early.

    @property
    def is_ended_early(self) -> bool:
        """Whether this process has asked for it. A cancel without that is a callback's own."""
        return self.cancel_requested or self.stop_requested

    def cancel(self) -> bool:
        """An operator asked for it: end it if it can be ended; False where its thread must be waited for."""
        if self.cancel_requested or self.task is None:
            return True
        self.cancel_requested = True
        if self.is_calling and not self.is_stoppable:
            return False
        self.task.cancel()
        return True

    def stop(self) -> None:
        """This process leaves: cut the run off."""
        self.stop_requested = True
        if self.task is not None:
            self.task.cancel()

    # What is recorded of it.

    def outcome(self, status: RunStatus, failure: Failure | None, now: datetime) -> Outcome:
        """How the attempt of `number` ended."""
        return Outcome(
            self.run,
            status,
            self.number,
            None,
            self.started_at,
            now,
            None,
            failure,
            self.attempt_started_at,
            self.called_version,
        )

    @property
    def called_version(self) -> int | None:
        """The version of the definition that is called, where it is not the one that the run was planned by."""
        return None if self.job.version == self.run.definition_version else self.job.version

    def as_running(self) -> Outcome:
        """Its callback is being called."""
        return Outcome(
            self.run,
            RunStatus.RUNNING,
            self.ended_attempts,
            started_at=self.started_at,
            attempt_started_at=self.attempt_started_at,
            definition_version=self.called_version,
        )

    def release(self, reason: str | None = None) -> Outcome:
        """Back to whoever leads next, with the attempts that it has behind it."""
        return replace(handed_back(self.run, reason), attempt=self.ended_attempts, next_attempt_at=self.next_attempt_at)

    def end_without_attempt(self, status: RunStatus, reason: str, now: datetime) -> Outcome:
        """The run ends, and no attempt more was made of it."""
        return unattempted(replace(self.run, attempt=self.ended_attempts), status, reason, now)

    def cut_off(self, now: datetime) -> Outcome:
        """What becomes of a run that a stop cut off.

        Between two attempts it simply goes on elsewhere. Inside one, that attempt is over: the run goes on elsewhere
        with the next, unless it is at_most_once and nobody can tell how far it came.
        """
        if not self.is_calling:
            return self.release()
        failure = Failure("cancelled", "CancelledError", "the replica stopped before the attempt ended")
        if self.job.definition.delivery is Delivery.AT_MOST_ONCE:
            return replace(self.outcome(RunStatus.CANCELLED, failure, now), reason="stopped")
        return self.outcome(RunStatus.PENDING, failure, now)

    def cancelled_on_request(self, ending: str, now: datetime) -> Outcome:
        """An operator asked for it: the run has ended, whatever its attempt would still have come to."""
        if not self.is_calling:
            return self.end_without_attempt(RunStatus.CANCELLED, "requested", now)
        failure = Failure("cancelled", "CancelledError", f"cancelled on request: {ending}")
        return replace(self.outcome(RunStatus.CANCELLED, failure, now), reason="requested")

"""One run, from its instant to its outcome. Whoever executes runs does so here: leaders, workers, a test's scheduler.

    find      its job as it stands, and the function that this means
    turn      runs of one job that must not overlap, one after the other
    slot      no more callbacks at once than there is room for
    begin     at this very instant: is the run still ours, wanted, and may this process begin it?
    lock      the job's distributed lock
    attempts  the call, again after a failure
    outcome   how the run ended, as a value

A run comes in at one place and leaves as an outcome, whatever happens in between; what fails in here and is not the
callback's is an outcome too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from scheduler_core.domain.errors import CallbackNotFoundError, UnreadableJobError
from scheduler_core.domain.jobs.policies import Overlap
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.domain.runs.ending import Ending, How
from scheduler_core.domain.runs.run import (
    Failure,
    LoggerLike,
    Origin,
    Outcome,
    Run,
    RunStatus,
    broken,
    handed_back,
    unattempted,
)
from scheduler_core.domain.runs.ticket import LOCAL, OFFERED
from scheduler_core.engine.callbacks.registry import Callback, CallbackRegistry
from scheduler_core.engine.clock import Clock
from scheduler_core.engine.election.trust_window import TrustWindow
from scheduler_core.engine.fire.active_run import ActiveRun
from scheduler_core.engine.fire.attempts import Attempts
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.journal import Journal
from scheduler_core.engine.fire.limits import Limits
from scheduler_core.engine.fire.log_context import CURRENT_RUN
from scheduler_core.engine.fire.offering import Offering
from scheduler_core.engine.fire.recorder import RecorderClosedError
from scheduler_core.engine.fire.run_lock import RunLock, RunLocks
from scheduler_core.engine.fire.slots import Slots

CUT_OFF_SECONDS = 5.0
"""How long runs that are cut off may take to say so."""


class JobSource(Protocol):
    """Jobs by their id, as the database has them."""

    def get(self, job_id: str, version: int) -> StoredJob | None:
        """One that is known and at least of this version; None where `find` must be asked."""

    async def find(self, job_id: str, version: int) -> StoredJob | None:
        """One, read if need be; None if it was removed. Raises UnreadableJobError if its row can't be read."""

    def invalidate(self, job_id: str) -> None:
        """What is known of it may be older than an edit by hand."""


class Gate(Protocol):
    """Who takes turns with whom."""

    async def enter(self, run: Run, overlap: Overlap, *, in_order: bool) -> Outcome | None: ...

    def leave(self, run: Run, overlap: Overlap) -> None: ...


class RemoteExecution(Protocol):
    """What has attempts made in other processes."""

    async def until_settled(self, run: Run, job: StoredJob) -> None: ...


@dataclass(slots=True)
class RunExecutor:
    """Executes runs for one process, each from its instant to its outcome.

    Parameters: slots, of each executor; remote, offering and limits, None for a process that executes whatever it is
    given itself.
    """

    clock: Clock
    journal: Journal
    trust: TrustWindow
    in_flight: InFlightRuns
    jobs: JobSource
    callbacks: CallbackRegistry
    gate: Gate
    slots: Mapping[str, Slots]
    locks: RunLocks
    attempts: Attempts
    logger: LoggerLike
    remote: RemoteExecution | None = None
    offering: Offering | None = None
    limits: Limits | None = None
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    """By the run's identity: one that was handed back and adopted again is another, with the same run_id."""

    # Beginning.

    def start(self, run: Run, *, in_order: bool) -> None:
        """The run's instant has come: execute it, in a task of its own."""
        if not self.in_flight.begin_waiting(run):
            return
        if self.trust.allows(run):
            task = asyncio.create_task(self._execute_and_record(run, in_order), name=f"run {run.job_id}")
            if not task.done():  # a loop whose tasks begin at once may have ended it
                self.tasks[id(run)] = task
        elif self.in_flight.wait_no_more(run):
            # Not ours to start any more: handed back, if it still can be, and otherwise left to recovery.
            self.journal.record_soon(handed_back(run))

    async def _execute_and_record(self, run: Run, in_order: bool) -> None:
        outcome = None
        try:
            outcome = await self.execute(run, in_order=in_order)
            if outcome is not None:
                await self._record(outcome)
        finally:
            if outcome is None:
                self.attempts.gate.leave(run.run_id)  # nothing will be durable that others would wait for
            self.in_flight.wait_no_more(run)
            self.tasks.pop(id(run), None)

    async def _record(self, outcome: Outcome) -> None:
        try:
            await self.journal.record(outcome)
        except asyncio.CancelledError:
            # It waited for room. Whoever cancelled this task: the run has ended, and how is not to be lost.
            self.journal.record_soon(outcome)

    async def drain(self, timeout_seconds: float) -> None:
        """Let what executes end, for at most so long; the rest is cut off and left to recovery."""
        if not self.tasks:
            return
        _, left = await asyncio.wait(set(self.tasks.values()), timeout=timeout_seconds)
        if not left:
            return
        self.logger.warning("%d runs did not end within the drain timeout and were cancelled", len(left))
        for active in self.in_flight.active():
            active.stop()
        for task in left:
            if not task.cancelling():
                task.cancel()  # it waits for its turn or a slot
        await asyncio.wait(left, timeout=CUT_OFF_SECONDS)

    # From a run to its outcome.

    async def execute(self, run: Run, *, in_order: bool = False) -> Outcome | None:
        """Execute a run that waits; None where there is nothing to say of it here.

        Parameters: in_order, whether runs of its job come one after the other.
        """
        try:
            return await self._execute(run, in_order)
        except asyncio.CancelledError:
            # A stop, while the run had not begun.
            return handed_back(run) if self.in_flight.wait_no_more(run) else None
        except UnreadableJobError as error:
            self.logger.error("run %s waits: %s", run.idempotency_key, error)
            self.in_flight.pass_over(run.run_id)
            return handed_back(run, error.reason)
        except RecorderClosedError as error:
            self.logger.warning("run %s is left to recovery: %s", run.idempotency_key, error)
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not hang for it
            # Ours, not the callback's: it ends this run and no other.
            self.logger.error("run %s failed inside the scheduler: %r", run.idempotency_key, error)
            failure = Failure("failed", type(error).__name__, f"inside the scheduler: {error}")
            return broken(run, failure, self.clock.now())

    async def _execute(self, run: Run, in_order: bool) -> Outcome | None:
        job = self.jobs.get(run.job_id, run.definition_version)
        if job is None:
            job = await self.jobs.find(run.job_id, run.definition_version)
        if job is None:
            return unattempted(run, RunStatus.SKIPPED, "removed", self.clock.now())
        if job.paused_at is not None and run.origin is Origin.SCHEDULE and run.attempt == 0:
            now = self.clock.now()
            if job.is_paused(now):
                return unattempted(run, RunStatus.SKIPPED, "paused", now)
        if self.offering is not None and job.definition.executor in OFFERED:
            return await self._offer(self.offering, run, job, in_order)
        try:
            callback = self.callbacks.find(job)
        except CallbackNotFoundError:
            try:
                job, callback = await self._find_again(job)
            except CallbackNotFoundError as error:
                self.logger.error("run %s waits: %s", run.idempotency_key, error)
                self.in_flight.pass_over(run.run_id)
                return handed_back(run, "no_callback")
        overlap = job.definition.overlap
        skipped = await self.gate.enter(run, overlap, in_order=in_order)
        if skipped is not None:
            return skipped
        try:
            if not await self._has_place(run, job):
                return None
            slots = self.slots[job.definition.executor if self.remote is not None else LOCAL]
            if run.origin is Origin.BACKFILL:
                async with slots.of_backfills, slots.of_all:
                    return await self._begin(run, job, callback)
            async with slots.of_all:
                return await self._begin(run, job, callback)
        finally:
            self.gate.leave(run, overlap)

    async def _offer(self, offering: Offering, run: Run, job: StoredJob, in_order: bool) -> Outcome | None:
        """Have its turn come, and let whoever can call it take it: from then on its turn lasts until its row ends."""
        overlap = job.definition.overlap
        skipped = await self.gate.enter(run, overlap, in_order=in_order)
        if skipped is not None:
            return skipped
        try:
            if not await self._has_place(run, job):
                return None
            return await offering.offer(run, job.definition.executor)
        finally:
            self.gate.leave(run, overlap)

    async def _has_place(self, run: Run, job: StoredJob) -> bool:
        """Wait for a place under the job's limit, where it has one; False if the run is somebody else's by now."""
        if self.limits is None or job.definition.limit is None or await self.limits.enter(run, job.definition):
            return True
        self.in_flight.wait_no_more(run)
        self.in_flight.release(run)
        return False

    async def _find_again(self, job: StoredJob) -> tuple[StoredJob, Callback]:
        """The job's callback, and the job as it is now: what is known of it may be older than an edit by hand.

        Raises CallbackNotFoundError.
        """
        self.jobs.invalidate(job.job_id)
        fresh = await self.jobs.find(job.job_id, job.version) or job
        return fresh, self.callbacks.find(fresh)

    async def _begin(self, run: Run, job: StoredJob, callback: Callback) -> Outcome | None:
        """There is room: decide, here and now, whether the run begins; then execute it."""
        if not self.in_flight.wait_no_more(run):
            return None  # handed back while it waited
        if self.in_flight.is_cancelling(run):
            return unattempted(run, RunStatus.CANCELLED, "requested", self.clock.now())
        if not self.trust.allows(run):
            return handed_back(run)
        if self.remote is not None and job.definition.executor != LOCAL:
            await self.remote.until_settled(run, job)
            return None
        lock = self.locks.of(run, job.definition)
        if lock is None:
            return await self.execute_direct(run, job, callback, None)
        return await self.execute_with_lock(run, job, callback, lock)

    async def execute_with_lock(self, run: Run, job: StoredJob, callback: Callback, lock: RunLock) -> Outcome:
        """Execute under the job's distributed lock, and let go of it whatever the run came to."""
        try:
            return await self.execute_direct(run, job, callback, lock)
        finally:
            await lock.release()

    async def execute_direct(self, run: Run, job: StoredJob, callback: Callback, lock: RunLock | None) -> Outcome:
        """Call the callback, again after a failure up to `max_retries` times; returns how the run ended."""
        now = self.clock.now()
        active = ActiveRun(run, job, now, now, self.clock.monotonic(), run.attempt + 1, run.attempt)
        active.task = asyncio.current_task()
        active.is_durable = run.status is RunStatus.RUNNING
        CURRENT_RUN.set(active)
        self.in_flight.activate(active)
        try:
            ending = await self.attempts.until_settled(active, callback, lock)
        except asyncio.CancelledError:
            # Between two calls of the callback: whoever asked for it, nothing of the user's was executing.
            return self._outcome_when_cancelled(active)
        finally:
            # From here on it has ended: a cancel comes too late.
            self.in_flight.deactivate(active)
        return self._outcome_of(active, ending)

    def _outcome_when_cancelled(self, active: ActiveRun) -> Outcome:
        now = self.clock.now()
        if active.cancel_requested:
            return active.cancelled_on_request("it was not executing", now)
        return active.cut_off(now)

    def _outcome_of(self, active: ActiveRun, ending: Ending) -> Outcome:
        """What an ending is for the run: each has its line."""
        now = self.clock.now()
        match ending.how:
            case How.RETURNED:
                return active.outcome(RunStatus.SUCCEEDED, None, now)
            case How.RAISED | How.TIMED_OUT:
                return self.attempts.outcome_of_failure(active, ending.failure, now)
            case How.CANCELLED:
                return active.cancelled_on_request(ending.note, now)
            case How.CUT_OFF:
                return active.cut_off(now)
            case How.NOT_BEGUN:
                return active.release()
            case How.LOCKED:
                return active.end_without_attempt(RunStatus.SKIPPED, "locked", now)
            case How.TOO_LATE:
                return active.end_without_attempt(RunStatus.MISSED, "misfire", now)

"""Handing runs to executors: what the leader does of a run whose callback is called elsewhere.

It gives out a ticket for each attempt, waits, and keeps the job's lane meanwhile. The worker takes the attempt and
records how it ended, so what comes back is a hint. Wherever the leader is in doubt it lets go of the run: recovery
finds it, as it finds whatever else somebody left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

from scheduler_core.domain.errors import ExecutorError, SchedulerError, WorkerDiedError
from scheduler_core.domain.jobs.job import Delivery
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.domain.runs.run import Failure, LoggerLike, Outcome, Run, RunStatus, handed_back
from scheduler_core.domain.runs.ticket import Ticket, Told, status_after
from scheduler_core.engine.clock import DatabaseClock
from scheduler_core.engine.election.trust_window import TrustWindow
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.recorder import OutcomeListener, Recorder
from scheduler_core.engine.fire.retry import delay_seconds
from scheduler_core.engine.fire.slots import Slots
from scheduler_core.engine.remote.executors import Executors, installed
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.executor import Executor
from scheduler_core.ports.runs import Runs

MOST_TRIES = 3
"""Of handing out one ticket to workers that die before they take it, until it waits for a while."""


@dataclass(slots=True)
class Handing:
    """See the module.

    Parameters: trust, whether a run may be started now; slots of each executor, one of which each run has taken;
    listeners, told what workers have recorded.
    """

    executors: Executors
    runs: Runs
    instance_id: str
    clock: DatabaseClock
    recorder: Recorder
    trust: TrustWindow
    slots: Mapping[str, Slots]
    in_flight: InFlightRuns
    listeners: Sequence[OutcomeListener]
    wake: Wake
    logger: LoggerLike
    waiting: set[asyncio.Task[None]] = field(default_factory=set)
    retrying: dict[UUID, asyncio.Event] = field(default_factory=dict)
    """The runs between two attempts, each with what tells that this replica makes no further one."""

    async def until_settled(self, run: Run, job: StoredJob) -> None:
        """Have attempts made until one succeeds or `max_retries` are used up, and let go of the run."""
        task = asyncio.current_task()
        assert task is not None
        self.waiting.add(task)
        try:
            await self._until_settled(run, job)
        except SchedulerError as error:
            self.logger.warning("run %s is left to recovery: %s", run.idempotency_key, error)
        finally:
            self.waiting.discard(task)
            self.in_flight.release(run)
            # What this replica let go of may be another's to adopt, or its own again.
            self.wake.wake()

    def leave_alone(self) -> None:
        """Wait for no worker any more: what they have begun they end without us."""
        for task in self.waiting:
            task.cancel()

    def hand_back(self) -> None:
        """Leave the next attempts to the successor."""
        for no_more in self.retrying.values():
            no_more.set()

    def cancel(self, run_id: UUID) -> None:
        """Somebody asked for a run to be cancelled. One between two attempts has ended in Postgres already."""
        if run_id in self.retrying:
            self.retrying[run_id].set()

    async def _until_settled(self, run: Run, job: StoredJob) -> None:
        attempt = run.attempt + 1
        while (told := await self._attempt(Ticket(run.run_id, attempt, run.term), run, job)) is not None:
            outcome = Outcome(run, told.status, attempt, failure=told.failure, next_attempt_at=told.next_attempt_at)
            for listener in self.listeners:
                listener.outcomes_recorded([outcome], frozenset())
            if told.status is RunStatus.PENDING:
                # The worker could not call it: somebody else may, and not at once.
                self.in_flight.pass_over(run.run_id)
            if told.status is not RunStatus.RETRYING or not await self._may_go_on(run, job, told):
                return
            attempt += 1

    async def _attempt(self, ticket: Ticket, run: Run, job: StoredJob) -> Told | None:
        """Have one attempt made; None where nobody here can say what became of it."""
        tries = 0
        while True:
            tries += 1
            try:
                executor = self.executors.get(job.definition.executor)
                if executor is None:
                    raise ExecutorError(
                        f"job {job.job_id!r} names the executor {job.definition.executor!r}, which replica "
                        f"{self.instance_id} does not have: install it there, or choose one of "
                        f"{', '.join(installed())}"
                    )
                return await _execute(executor, ticket)
            except ExecutorError as error:
                dead = error.instance_id if isinstance(error, WorkerDiedError) else None
                stood = await self.runs.take_back(ticket, self.instance_id, dead)
                if stood is None:
                    return None
                if stood is not RunStatus.RUNNING and dead is not None:
                    # Another's death, or nobody's fault: what has not begun is not charged with it.
                    if tries < MOST_TRIES:
                        continue
                    # With the attempts that it has behind it: `run` is as it was when it was handed out first.
                    await self.recorder.record_durably(replace(handed_back(run), attempt=ticket.attempt - 1))
                    self.in_flight.pass_over(run.run_id)
                    return None
                self.logger.warning("run %s: %s", run.idempotency_key, error)
                return await self._fail(ticket, run, job, error, begun=stood is RunStatus.RUNNING)

    async def _fail(self, ticket: Ticket, run: Run, job: StoredJob, error: ExecutorError, *, begun: bool) -> Told:
        """Record, in place of a worker that can't, that the attempt failed."""
        definition, now = job.definition, self.clock.now()
        failure = Failure("failed", type(error).__name__.removesuffix("Error"), str(error))
        status = status_after(failure, ticket.attempt, definition.max_retries)
        if begun and definition.delivery is Delivery.AT_MOST_ONCE:
            # Nobody can tell how far it came.
            failure, status = replace(failure, outcome="lost"), RunStatus.LOST
        next_attempt_at = None
        if status is RunStatus.RETRYING:
            next_attempt_at = now + timedelta(seconds=delay_seconds(definition, ticket.attempt))
        reason = "owner_died" if status is RunStatus.LOST else None
        await self.recorder.record_durably(
            Outcome(run, status, ticket.attempt, reason, now, now, next_attempt_at, failure, now)
        )
        return Told(status, next_attempt_at, None)

    async def _may_go_on(self, run: Run, job: StoredJob, told: Told) -> bool:
        """Wait for the next attempt, without a slot; False if it is not this replica's to make, or nobody's."""
        if self.in_flight.is_cancelling(run) or not self.trust.allows(run):
            return False
        delay = (told.next_attempt_at - self.clock.now()).total_seconds() if told.next_attempt_at is not None else 0.0
        no_more = self.retrying[run.run_id] = asyncio.Event()
        try:
            async with self.slots[job.definition.executor].given_back(), asyncio.timeout(max(delay, 0.0)):
                await no_more.wait()
        except TimeoutError:
            return self.trust.allows(run)
        finally:
            del self.retrying[run.run_id]
        return False


async def _execute(executor: Executor, ticket: Ticket) -> Told | None:
    """Raises ExecutorError, whatever a plug-in raises or returns."""
    try:
        told = await executor.execute(ticket)
    except (SchedulerError, asyncio.CancelledError):
        raise
    except Exception as error:
        raise ExecutorError(f"the executor raised {type(error).__name__}: {error}") from error
    if told is not None and not isinstance(told, Told):
        raise ExecutorError(f"the executor returned {type(told).__name__} and no Told: correct the plug-in")
    return told

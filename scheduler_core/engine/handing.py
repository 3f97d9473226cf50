"""Handing runs to executors: what the leader does of a run whose callback is called elsewhere.

It gives out a ticket for each attempt, waits, and keeps the job's lane meanwhile. The worker takes the attempt and
records how it ended, so what comes back is a hint. Wherever the leader is in doubt it lets go of the run: recovery
finds it, as it finds whatever else somebody left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from scheduler_core.domain.errors import ExecutorError, SchedulerError, WorkerDiedError
from scheduler_core.domain.job import Delivery
from scheduler_core.domain.planning import StoredJob
from scheduler_core.domain.run import Failure, LoggerLike, Outcome, Run, RunStatus
from scheduler_core.domain.ticket import Ticket, Told, status_after
from scheduler_core.engine.clock import DatabaseClock
from scheduler_core.engine.executors import Executors, installed
from scheduler_core.engine.recorder import Recorder
from scheduler_core.engine.retry import delay_seconds
from scheduler_core.ports import Runs

MOST_TRIES = 3
"""Of handing out one ticket to workers that die before they take it."""


@dataclass(slots=True)
class Handing:
    """See the module.

    Parameters: trusts, whether a term may start runs now; slots, one of which each run has taken;
    trust_lost, set while this replica leads no more; told, given what workers have recorded; let_go, given each run
    that this replica has in hand no more.
    """

    executors: Executors
    runs: Runs
    instance_id: str
    clock: DatabaseClock
    recorder: Recorder
    trusts: Callable[[int], bool]
    slots: asyncio.Semaphore
    trust_lost: asyncio.Event
    told: Callable[[Sequence[Outcome]], None]
    let_go: Callable[[Run], None]
    logger: LoggerLike
    waiting: set[asyncio.Task[None]] = field(default_factory=set)

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
            self.let_go(run)

    def leave_alone(self) -> None:
        """Wait for no worker any more: what they have begun they end without us."""
        for task in self.waiting:
            task.cancel()

    async def _until_settled(self, run: Run, job: StoredJob) -> None:
        attempt = run.attempt + 1
        while (told := await self._attempt(Ticket(run.run_id, attempt, run.term), run, job)) is not None:
            outcome = Outcome(run, told.status, attempt, failure=told.failure, next_attempt_at=told.next_attempt_at)
            self.told([outcome])
            if told.status is not RunStatus.RETRYING or not await self._may_go_on(run, told.next_attempt_at):
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
                return await executor.execute(ticket)
            except ExecutorError as error:
                dead = error.instance_id if isinstance(error, WorkerDiedError) else None
                stood = await self.runs.take_back(ticket, self.instance_id, dead)
                if stood is None:
                    return None
                if stood is not RunStatus.RUNNING and dead is not None and tries < MOST_TRIES:
                    continue
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

    async def _may_go_on(self, run: Run, next_attempt_at: datetime | None) -> bool:
        """Wait for the next attempt, without a slot; False once leadership is lost: the successor makes it."""
        delay = (next_attempt_at - self.clock.now()).total_seconds() if next_attempt_at is not None else 0.0
        self.slots.release()
        try:
            async with asyncio.timeout(max(delay, 0.0)):
                await self.trust_lost.wait()
        except TimeoutError:
            return self.trusts(run.term)
        finally:
            await self.slots.acquire()
        return False

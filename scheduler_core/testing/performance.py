"""Executing one run in virtual time: the product's attempt and retry, with the clock put in."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler_core.domain.errors import CallbackNotFoundError, SchedulerError
from scheduler_core.domain.job import JobDefinition
from scheduler_core.domain.run import Failure, LoggerLike, Outcome, Run, RunContext, RunStatus
from scheduler_core.engine.execution import attempt
from scheduler_core.engine.locks import held_lock
from scheduler_core.engine.registry import Callback, Registry
from scheduler_core.engine.retry import retry
from scheduler_core.ports import Locks
from scheduler_core.testing.clock import VirtualClock
from scheduler_core.testing.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Performance:
    """How runs are executed here; each part is what `engine.scheduler` uses, or stands for it."""

    clock: VirtualClock
    ledger: Ledger
    registry: Registry
    locks: Locks
    threads: Executor
    retry_jitter: float
    logger: LoggerLike

    async def perform(self, run: Run) -> None:
        """Execute a run to its end, under its job's lock if it has one, and record what came of it."""
        job = self.ledger.jobs.get(run.job_id)
        if job is None:
            self._end(run, RunStatus.SKIPPED, "removed")
            return
        definition = job.definition
        try:
            callback = self.registry.find(definition)
        except CallbackNotFoundError as error:
            self._fail(run, "no_callback", error)
            return
        if not definition.use_distributed_lock:
            await self._execute(run, definition, callback)
            return
        key = definition.lock_key or f"job:{run.job_id}"
        try:
            async with held_lock(self.locks, key, definition.lock_ttl, run, self.logger) as held:
                if held:
                    await self._execute(run, definition, callback)
                else:
                    self._end(run, RunStatus.SKIPPED, "locked")
        except (SchedulerError, OSError) as error:
            self._fail(run, "lock_unavailable", error)

    async def _execute(self, run: Run, definition: JobDefinition, callback: Callback) -> None:
        began_at = self.clock.now()
        number = run.attempt + 1

        async def again(now: int) -> Failure | None:
            nonlocal number
            number = now
            return await self._attempt(run, definition, callback, number, began_at)

        async def before_wait(failed_number: int, failure: Failure, delay_seconds: float) -> None:
            self.ledger.record(
                Outcome(
                    run,
                    RunStatus.RETRYING,
                    failed_number,
                    started_at=began_at,
                    next_attempt_at=self.clock.now() + timedelta(seconds=delay_seconds),
                    failure=failure,
                )
            )

        try:
            failure = await again(number)
            if failure is not None and number <= definition.max_retries:
                failure = await retry(
                    definition,
                    failure,
                    number,
                    again=again,
                    before_wait=before_wait,
                    sleep=self.clock.sleep,
                    jitter_fraction=self.retry_jitter,
                )
        except asyncio.CancelledError:
            self._end(run, RunStatus.CANCELLED, "the scheduler was closed", attempt=number)
            raise
        status = RunStatus.SUCCEEDED if failure is None else RunStatus.FAILED
        self._end(run, status, None, attempt=number, failure=failure)

    async def _attempt(
        self, run: Run, definition: JobDefinition, callback: Callback, number: int, began_at: datetime
    ) -> Failure | None:
        now = self.clock.now()
        self.ledger.record(Outcome(run, RunStatus.RUNNING, number - 1, started_at=began_at, attempt_started_at=now))
        context = RunContext(
            run_id=run.run_id,
            job_id=run.job_id,
            scheduled_for=run.scheduled_for,
            attempt=number,
            term=run.term,
            idempotency_key=run.idempotency_key,
            deadline=now + timedelta(seconds=definition.timeout) if definition.timeout else None,
            logger=self.logger,
            _still_owner=lambda: True,
        )
        return await attempt(callback, definition, context, self.threads, lambda: True, self.clock.timeout)

    def _fail(self, run: Run, reason: str, error: Exception) -> None:
        failure = Failure("failed", type(error).__name__, str(error))
        self._end(run, RunStatus.FAILED, reason, attempt=run.attempt + 1, failure=failure)

    def _end(
        self, run: Run, status: RunStatus, reason: str | None, *, attempt: int = 0, failure: Failure | None = None
    ) -> None:
        self.ledger.record(
            Outcome(run, status, attempt, reason, finished_at=self.clock.now(), failure=failure),
        )

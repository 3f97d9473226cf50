"""The attempts of a begun run: the first straight, the next by tenacity, each failure durable before its wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import timedelta

from scheduler_core.domain.errors import NotLeaderError
from scheduler_core.domain.job import Delivery
from scheduler_core.domain.run import Failure, LoggerLike, Run, RunContext, RunStatus
from scheduler_core.engine.begun import Begun
from scheduler_core.engine.cancellation import CancelRequestedError
from scheduler_core.engine.clock import DatabaseClock
from scheduler_core.engine.execution import attempt
from scheduler_core.engine.locks import RunLock
from scheduler_core.engine.recorder import Recorder
from scheduler_core.engine.registry import Callback
from scheduler_core.engine.retry import retry
from scheduler_core.engine.slots import Slots
from scheduler_core.ports import Runs


@dataclass(slots=True)
class Attempts:
    """Makes attempts, for one replica.

    Parameters: runs, where a start is made durable; trusts, whether a run may start at this very instant (I7);
    holds_life, whether this process can still be sure of its runs; slots, one of which each run has taken.
    """

    runs: Runs
    instance_id: str
    clock: DatabaseClock
    recorder: Recorder
    trusts: Callable[[Run], bool]
    holds_life: Callable[[], bool]
    slots: Slots
    threads: Executor
    logger: LoggerLike
    trust_lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while this replica leads no more: who waits for a retry then goes back."""

    async def until_settled(self, begun: Begun, callback: Callback, lock: RunLock | None) -> Failure | None:
        """Attempt until one succeeds or `max_retries` are used up; returns the last failure, None for success.

        Raises NotLeaderError where the run goes back, CancelRequestedError, LockedElsewhereError.
        """
        failure = await self.once(begun, callback, lock)
        if failure is None or begun.job.definition.max_retries + 1 <= begun.number:
            return failure

        async def again(number: int) -> Failure | None:
            begun.number = number
            begun.attempt_started_at = self.clock.now()
            return await self.once(begun, callback, lock)

        async def before_wait(_number: int, failed: Failure, delay_seconds: float) -> None:
            now = self.clock.now()
            begun.calling = False
            begun.ended_attempts = begun.number
            begun.next_attempt_at = now + timedelta(seconds=delay_seconds)
            retrying = begun.outcome(RunStatus.RETRYING, failed, now)
            await self.recorder.record_durably(replace(retrying, next_attempt_at=begun.next_attempt_at))
            begun.durable = False

        async def wait(delay_seconds: float) -> None:
            async with self.slots.given_back():
                await self._wait_for_retry(begun.run, delay_seconds)

        return await retry(
            begun.job.definition, failure, begun.number, again=again, before_wait=before_wait, sleep=wait
        )

    async def _wait_for_retry(self, run: Run, delay_seconds: float) -> None:
        """Wait, unless leadership is lost: then the successor makes the next attempt, at its time."""
        try:
            async with asyncio.timeout(delay_seconds):
                await self.trust_lost.wait()
        except TimeoutError:
            if self.trusts(run):
                return
        raise NotLeaderError("this replica leads no more; the successor makes the next attempt")

    async def once(self, begun: Begun, callback: Callback, lock: RunLock | None) -> Failure | None:
        """Make one attempt; returns and raises as `until_settled`, and records nothing of how it ended."""
        definition, run = begun.job.definition, begun.run
        begun.started_monotonic = time.monotonic()
        if lock is not None:
            if (failure := await lock.take()) is not None:
                return failure
            if not self.trusts(run):
                raise NotLeaderError("leadership ended while the job's lock was taken: the run goes back")
        if definition.delivery is Delivery.AT_MOST_ONCE and not begun.durable:
            started = await self.runs.start(run, self.instance_id, begun.attempt_started_at)
            if not started or not self.trusts(run):
                raise NotLeaderError("the run was marked as started and is not started: it goes back")
            begun.durable = True
        if begun.cancel_requested:
            raise CancelRequestedError
        begun.next_attempt_at = None
        begun.calling = True
        return await self._call(begun, callback)

    async def _call(self, begun: Begun, callback: Callback) -> Failure | None:
        context = self._context(begun) if callback.wants_context else None
        failure = await attempt(callback, begun.job.definition, context, self.threads, lambda: self.trusts(begun.run))
        if begun.cancel_requested:
            ending = "returned" if failure is None else f"ended with {failure.summary}"
            raise CancelRequestedError(f"the callback was not stopped, and {ending}")
        return failure

    def _context(self, begun: Begun) -> RunContext:
        run, timeout = begun.run, begun.job.definition.timeout
        return RunContext(
            run_id=run.run_id,
            job_id=run.job_id,
            scheduled_for=run.scheduled_for,
            attempt=begun.number,
            term=run.term,
            idempotency_key=run.idempotency_key,
            deadline=begun.attempt_started_at + timedelta(seconds=timeout) if timeout else None,
            logger=self.logger,
            _still_owner=lambda: begun.still_owner and self.holds_life(),
            _cancel_requested=lambda: begun.cancel_requested,
        )

"""The attempts of an active run: what must be so before each, the call, and how it ended.

The first goes straight, the next ones by tenacity, each failure durable before its wait. A worker is given one attempt
at a time, and whoever gives them sees to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.jobs.job import JobDefinition, Misfire
from scheduler_core.domain.runs.begin import Begin, begin_of
from scheduler_core.domain.runs.ending import NOT_BEGUN, TOO_LATE, Ending, How
from scheduler_core.domain.runs.run import Failure, LoggerLike, Outcome, RunContext, RunStatus
from scheduler_core.domain.runs.ticket import status_after
from scheduler_core.engine.callbacks.registry import Callback
from scheduler_core.engine.clock import Clock
from scheduler_core.engine.election.trust_window import TrustWindow
from scheduler_core.engine.fire.active_run import ActiveRun
from scheduler_core.engine.fire.callback_call import CallbackCall
from scheduler_core.engine.fire.journal import Journal
from scheduler_core.engine.fire.retry import Retry, delay_seconds
from scheduler_core.engine.fire.run_lock import RunLock
from scheduler_core.engine.fire.slots import Slots
from scheduler_core.engine.fire.start_gate import StartGate

T = TypeVar("T")

START_AGAIN_SECONDS = (0.05, 1.0)
"""First and longest pause while a start can't be written down."""


@dataclass(slots=True)
class Attempts:
    """Makes attempts, for one process.

    Parameters: trust, whether a run may start at this very instant (I7); slots, one of which each run has taken; retry,
    None where another process sees to further attempts; starts_durably, whether every start is written down, and not
    only those that must be.
    """

    journal: Journal
    call: CallbackCall
    trust: TrustWindow
    clock: Clock
    slots: Slots
    gate: StartGate
    retry: Retry | None
    logger: LoggerLike
    starts_durably: bool = False

    async def until_settled(self, active: ActiveRun, callback: Callback, lock: RunLock | None) -> Ending:
        """Attempt until one succeeds or `max_retries` are used up; returns how the last one ended."""
        ending = await self.once(active, callback, lock)
        if ending.how is How.RETURNED or not ending.is_own or self.retry is None:
            return ending
        if active.number > active.job.definition.max_retries:
            return ending
        return await self.retry.until_settled(_Retried(self, active, callback, lock), ending, active.number)

    async def once(self, active: ActiveRun, callback: Callback, lock: RunLock | None) -> Ending:
        """Make one attempt; records nothing of how it ended."""
        active.started_monotonic = self.clock.monotonic()
        if lock is not None:
            if (ending := await lock.take()) is not None:
                return ending
            if not self.trust.allows(active.run):
                return NOT_BEGUN  # leadership ended while the lock was taken
        begin = begin_of(active.run, active.job.definition.delivery)
        if begin is not Begin.FREELY or self.starts_durably:
            return await self._begin_with_care(begin, active, callback)
        return await self._call(active, callback)

    def outcome_of_failure(self, active: ActiveRun, failure: Failure | None, now: datetime) -> Outcome:
        """How the run stands after its last attempt here has failed."""
        definition = active.job.definition
        status = RunStatus.FAILED if self.retry else status_after(failure, active.number, definition.max_retries)
        outcome = active.outcome(status, failure, now)
        if status is not RunStatus.RETRYING:
            return outcome
        return replace(outcome, next_attempt_at=now + timedelta(seconds=delay_seconds(definition, active.number)))

    async def _begin_with_care(self, begin: Begin, active: ActiveRun, callback: Callback) -> Ending:
        """Call beside nothing that a death would be charged to as well, after a durable start where that must be."""
        run_id = active.run.run_id
        if begin is not Begin.FREELY:
            await self.gate.enter(run_id, begin)
        is_called = False
        try:
            if (begin.is_durable or self.starts_durably) and not active.is_durable:
                ending = await self._start_durably(active)
                if ending is not None:
                    return ending
            elif not self.trust.allows(active.run):
                return NOT_BEGUN
            is_called = True
            self.gate.leave_soon(run_id, in_thread=not callback.is_async)
            return await self._call(active, callback)
        finally:
            if is_called:
                self.gate.end(run_id)
            else:
                self.gate.leave(run_id)

    async def _start_durably(self, active: ActiveRun) -> Ending | None:
        """Write the start down; None once it is. Asked again while Postgres refuses, because then nothing is written.

        A run that waits for this grows late, and what becomes of late ones its misfire policy says.
        """
        pause = START_AGAIN_SECONDS[0]
        while True:
            try:
                is_ours = await self.journal.start_run(active)
            except SchedulerError as error:
                self.logger.warning("the start of run %s waits: %s", active.run.idempotency_key, error)
                if self._is_dropped(active):
                    return TOO_LATE
                if await self.clock.wait(self.trust.lost, pause) or not self.trust.allows(active.run):
                    return NOT_BEGUN
                pause = min(pause * 2, START_AGAIN_SECONDS[1])
                continue
            if not is_ours or not self.trust.allows(active.run):
                return NOT_BEGUN
            active.is_durable = active.is_noted = True
            return None

    def _is_dropped(self, active: ActiveRun) -> bool:
        definition = active.job.definition
        late = self.clock.now() - active.run.due_at
        return definition.misfire is Misfire.SKIP and late.total_seconds() > definition.misfire_grace

    async def _call(self, active: ActiveRun, callback: Callback) -> Ending:
        if active.cancel_requested:
            return Ending(How.CANCELLED)
        active.next_attempt_at = None
        active.is_calling = True
        return await self.call.make(active, callback, self._context(active) if callback.wants_context else None)

    def _context(self, active: ActiveRun) -> RunContext:
        run, timeout = active.run, active.job.definition.timeout
        return RunContext(
            run_id=run.run_id,
            job_id=run.job_id,
            scheduled_for=run.scheduled_for,
            attempt=active.number,
            term=run.term,
            idempotency_key=run.idempotency_key,
            deadline=active.attempt_started_at + timedelta(seconds=timeout) if timeout else None,
            logger=self.logger,
            _still_owner=lambda: active.is_owned and self.trust.holds_life,
            _cancel_requested=lambda: active.cancel_requested,
        )


@dataclass(slots=True)
class _Retried:
    """One run that is tried again: what `retry` asks for between and after its waits."""

    attempts: Attempts
    active: ActiveRun
    callback: Callback
    lock: RunLock | None

    @property
    def definition(self) -> JobDefinition:
        return self.active.job.definition

    async def again(self, number: int) -> Ending:
        """Make the attempt of this number."""
        active = self.active
        active.number = number
        active.attempt_started_at = self.attempts.clock.now()
        return await self.attempts.once(active, self.callback, self.lock)

    async def note_failure(self, ending: Ending, delay_seconds: float) -> None:
        """Make the failed attempt durable, and the time of the next."""
        active, now = self.active, self.attempts.clock.now()
        active.is_calling = False
        active.ended_attempts = active.number
        active.next_attempt_at = now + timedelta(seconds=delay_seconds)
        retrying = active.outcome(RunStatus.RETRYING, ending.failure, now)
        retrying = replace(retrying, next_attempt_at=active.next_attempt_at)
        if not await self._undisturbed(self.attempts.journal.record_durably(retrying)):
            active.is_owned = False
        active.is_durable = active.is_noted = False

    async def wait(self, delay_seconds: float) -> bool:
        """Wait, without a slot; False if the next attempt is not ours to make."""
        attempts = self.attempts
        async with attempts.slots.given_back():
            is_lost = await self._undisturbed(attempts.clock.wait(attempts.trust.lost, delay_seconds))
        return not is_lost and self.active.is_owned and attempts.trust.allows(self.active.run)

    async def _undisturbed(self, step: Coroutine[Any, Any, T]) -> T:
        """Take a step between two attempts, though the callback may have left a cancel of its own task behind."""
        stepping = asyncio.create_task(step, name=f"between attempts of {self.active.run.job_id}")
        while not stepping.done():
            try:
                await asyncio.wait({stepping})
            except asyncio.CancelledError:
                if self.active.is_ended_early:
                    stepping.cancel()
                    raise
        return stepping.result()

"""A worker: makes attempts that a leader gives out, in another process than the leader's.

It owns what it has taken, as a replica owns what it has begun. It holds a life witness of its own, so its death is
found by recovery like any owner's; it records its own outcomes, so a leader's death leaves its work alone; and it
looks for cancels of its own runs. It never leads.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from scheduler_core.domain.errors import CallbackNotFoundError, NotLeaderError, ServerUnreachableError
from scheduler_core.domain.run import Failure, LoggerLike, Outcome, Run, RunStatus
from scheduler_core.domain.ticket import Ticket, Told, status_after
from scheduler_core.domain.trust import RedisOutage, Timing
from scheduler_core.engine import cancellation
from scheduler_core.engine.attempts import Attempts
from scheduler_core.engine.begun import Begun, ended
from scheduler_core.engine.cancellation import CancelRequestedError
from scheduler_core.engine.clock import DatabaseClock, boottime
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.execution import failure_of
from scheduler_core.engine.known_jobs import KnownJobs
from scheduler_core.engine.leadership import Keeper
from scheduler_core.engine.locks import LockedElsewhereError, RunLock
from scheduler_core.engine.log_context import CURRENT_RUN
from scheduler_core.engine.recorder import Recorder
from scheduler_core.engine.registry import Callback, Registry
from scheduler_core.engine.retry import delay_seconds
from scheduler_core.engine.slots import Slots
from scheduler_core.engine.supervision import keep_going
from scheduler_core.engine.tracing import traced
from scheduler_core.ports import CANCEL_REQUEST, RESIGN_REQUEST, Instance, Locks, Storage

ASK_AGAIN_SECONDS = (0.05, 1.0)
"""First and longest pause while Postgres can't be asked."""

LOOK_EVERY_SECONDS = 1.0


class Worker:
    """See the module. Usable in one event loop, from `start` to `stop`.

    Parameters: instance, this process; locks, gives the lock service of jobs with `use_distributed_lock`;
    max_concurrent_runs, callbacks that execute at once; the others as `BaseScheduler`.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        instance: Instance,
        timing: Timing,
        locks: Callable[[], Locks] | None = None,
        max_concurrent_runs: int = 1,
        allowed_callbacks: Sequence[str] = (),
        logger: LoggerLike | None = None,
    ) -> None:
        self.instance = replace(instance, eligible=False)
        self.registry = Registry(allowed_callbacks)
        self._storage = storage
        self._locks = locks
        self._logger: LoggerLike = logger or logging.getLogger("scheduler_core")
        self._counters = Counters()
        self._clock = DatabaseClock()
        self._known = KnownJobs(storage, self._logger)
        self._taking: set[UUID] = set()
        self._trusted_until: dict[UUID, float] = {}
        self._trust_seconds = timing.ttl_seconds - timing.margin_seconds
        self._begun: dict[UUID, Begun] = {}
        self._working: set[asyncio.Task[Told | None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._slots = Slots(max_concurrent_runs)
        self._threads = ThreadPoolExecutor(max_concurrent_runs, thread_name_prefix="scheduler-job")
        self._recorder = Recorder(
            storage.runs,
            instance.instance_id,
            on_late=self._came_late,
            on_recorded=self._counters.see_outcomes,
            counters=self._counters,
            logger=self._logger,
        )
        self._keeper = Keeper(
            instance=self.instance,
            timing=timing,
            open_control=storage.open_control,
            open_lease=lambda: None,
            redis_outage=RedisOutage.HOLD,
            on_change=lambda _leadership, _reason: None,
            on_nudge=self._hear,
            callables=tuple,
            begun=tuple,
            logger=self._logger,
        )
        self._attempts = traced(
            Attempts(
                runs=storage.runs,
                instance_id=instance.instance_id,
                clock=self._clock,
                recorder=self._recorder,
                trusts=self._trusts,
                holds_life=lambda: self._keeper.holds_life,
                slots=self._slots,
                threads=self._threads,
                logger=self._logger,
            )
        )

    def allow(self, callables: Iterable[str]) -> None:
        """Let these callbacks be called here, by name: another process of the same service has registered them."""
        for reference in callables:
            self.registry.register(reference)

    async def start(self) -> None:
        """Connect, and hold the life witness. Raises ServerUnreachableError, SchemaError."""
        self._loop = asyncio.get_running_loop()
        await self._keeper.start()
        await self._known.read_calendars_revision()
        await self._read_clock()
        self._recorder.start()
        self._tasks = [
            asyncio.create_task(keep_going(work, name, self._logger), name=name)
            for name, work in (
                ("worker watch", self._watch),
                (
                    "worker cancels",
                    functools.partial(
                        cancellation.watch,
                        self._storage.requests,
                        self.instance.instance_id,
                        in_hand=lambda: bool(self._begun),
                        cancel=self._cancel,
                        logger=self._logger,
                    ),
                ),
            )
        ]

    async def stop(self, drain_timeout_seconds: float) -> None:
        """End what has been begun, for at most so long; the rest is cut off and goes back. Then leave."""
        if self._working:
            _, left = await asyncio.wait(self._working, timeout=drain_timeout_seconds)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=5.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._recorder.stop(timeout_seconds=5.0)
        await self._keeper.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def execute(self, ticket: Ticket) -> Told | None:
        """Take the attempt, make it, record how it ended; None where there is nothing to take.

        Returns once the outcome is durable. Cancelled from outside: what was begun is cut off, as by a stop.
        """
        if ticket.run_id in self._taking:
            return None
        self._taking.add(ticket.run_id)
        task = asyncio.create_task(self._execute(ticket), name=f"ticket {ticket.run_id}")
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        try:
            return await task
        finally:
            self._taking.discard(ticket.run_id)

    async def _execute(self, ticket: Ticket) -> Told | None:
        async with self._slots.of_all:
            run = await self._take(ticket)
            if run is None:
                return None
            try:
                outcome = await self._attempt(run)
            finally:
                del self._trusted_until[run.run_id]
        await self._recorder.record_durably(outcome)
        return Told(outcome.status, outcome.next_attempt_at, outcome.failure)

    async def _take(self, ticket: Ticket) -> Run | None:
        """Take the attempt; asked until it is answered, because an answer that got lost may have been a yes."""
        pause = ASK_AGAIN_SECONDS[0]
        while True:
            try:
                sent_at = boottime()
                run = await self._storage.runs.take(ticket, self.instance.instance_id)
                if run is not None:
                    self._trusted_until[run.run_id] = sent_at + self._trust_seconds
                return run
            except ServerUnreachableError as error:
                self._logger.warning("ticket %s waits for Postgres: %s", ticket.run_id, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, ASK_AGAIN_SECONDS[1])

    def _trusts(self, run: Run) -> bool:
        """Whether what was taken may begin at this very instant (I7): whoever leads then.

        An owner whose witness is gone is given up a TTL after it was first seen to own something, and not before: one
        that was stopped in between must begin nothing when it wakes.
        """
        return self._keeper.holds_life and boottime() < self._trusted_until.get(run.run_id, 0.0)

    async def _attempt(self, run: Run) -> Outcome:
        """The attempt, from the job's definition to its outcome. Whatever goes wrong is one."""
        now = self._clock.now()
        try:
            job = self._known.get(run.job_id) or await self._known.find(run.job_id)
            if job is None:
                return ended(run, RunStatus.SKIPPED, "removed", now)
            begun = Begun(run, job, now, time.monotonic(), now, run.attempt + 1, run.attempt, durable=True)
            try:
                callback = self.registry.find(job.definition)
            except CallbackNotFoundError as error:
                return self._outcome(begun, failure_of(error))
            begun.stoppable = callback.is_async
            return await self._call(begun, callback)
        except Exception as error:  # noqa: BLE001 - ours, not the callback's: it ends this attempt and no other
            self._logger.error("run %s failed inside the worker: %r", run.idempotency_key, error)
            failure = Failure("failed", type(error).__name__, f"inside the worker: {error}")
            return Outcome(run, RunStatus.FAILED, run.attempt + 1, "internal_error", now, now, None, failure)

    async def _call(self, begun: Begun, callback: Callback) -> Outcome:
        definition = begun.job.definition
        begun.task = asyncio.current_task()
        CURRENT_RUN.set(begun)
        self._begun[begun.run.run_id] = begun
        try:
            async with AsyncExitStack() as stack:
                lock = None
                if definition.use_distributed_lock:
                    if self._locks is None:
                        problem = "no lock service is configured where the worker runs: set redis_url there"
                        return self._outcome(begun, Failure("failed", "LockUnavailable", problem))
                    key = definition.lock_key or f"job:{definition.job_id}"
                    lock = RunLock(self._locks, key, definition.lock_ttl, begun.run, self._logger)
                    await stack.enter_async_context(lock)
                if not self._trusts(begun.run):
                    raise NotLeaderError("the worker was stopped after it had taken the run: it goes back")
                failure = await self._attempts.once(begun, callback, lock)
            return self._outcome(begun, failure)
        except CancelRequestedError as request:
            return begun.cancelled_on_request(str(request), self._clock.now())
        except LockedElsewhereError:
            return begun.locked_elsewhere(self._clock.now())
        except NotLeaderError:
            return begun.returned()
        except asyncio.CancelledError:
            outcome = begun.cut_off(self._clock.now())
            if begun.cancel_requested:
                return outcome
            self._recorder.record_soon(outcome)
            raise
        finally:
            begun.task = None
            del self._begun[begun.run.run_id]

    def _outcome(self, begun: Begun, failure: Failure | None) -> Outcome:
        now, definition = self._clock.now(), begun.job.definition
        status = status_after(failure, begun.number, definition.max_retries)
        outcome = begun.outcome(status, failure, now)
        if status is not RunStatus.RETRYING:
            return outcome
        return replace(outcome, next_attempt_at=now + timedelta(seconds=delay_seconds(definition, begun.number)))

    # What goes on beside.

    def _cancel(self, run_id: UUID) -> None:
        """Somebody asked for a run to be cancelled: stop it, if it is being called here and can be."""
        begun = self._begun.get(run_id)
        if begun is None or begun.task is None or begun.cancel_requested:
            return
        begun.cancel_requested = True
        if begun.stoppable or not begun.calling:
            begun.task.cancel()
        else:
            self._logger.warning("run %s is to be cancelled: its thread is waited for", begun.run.idempotency_key)

    def _came_late(self, run: Run) -> None:
        self._logger.warning("run %s was taken over meanwhile; its outcome here is kept as late", run.idempotency_key)

    def _hear(self, message: str) -> None:
        """In the keeper's thread."""
        self._loop.call_soon_threadsafe(self._nudged, message)

    def _nudged(self, message: str) -> None:
        if message.startswith(CANCEL_REQUEST):
            self._cancel(UUID(message.removeprefix(CANCEL_REQUEST)))
        elif message and not message.startswith(RESIGN_REQUEST):
            self._known.change(message)

    async def _watch(self) -> None:
        while True:
            self._keeper.progress()
            await self._read_clock()
            self._known.see_calendars(await self._storage.calendars.revision())
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _read_clock(self) -> None:
        sent_at = time.monotonic()
        now = await self._storage.jobs.now()
        self._clock.read(now, sent_at, time.monotonic())

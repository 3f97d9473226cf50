"""A worker: makes attempts that a leader gives out, in another process than the leader's.

It owns what it has taken, as a replica owns what it has begun. It holds a life witness of its own, so its death is
found by recovery like any owner's; it records its own outcomes, so a leader's death leaves its work alone; and it
looks for cancels of its own runs. It never leads. What it takes it executes as a leader does, by the same code.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

from scheduler_core.domain.clock import CLOCK_JUMP_LIMIT_SECONDS
from scheduler_core.domain.election.trust import RedisOutage, Timing
from scheduler_core.domain.errors import SchedulerError, ServerUnreachableError
from scheduler_core.domain.runs.run import LoggerLike, Outcome, Run
from scheduler_core.domain.runs.ticket import Ticket, Told
from scheduler_core.engine.callbacks.own_modules import OwnModules
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.clock import boottime
from scheduler_core.engine.clock_guard import ClockGuard
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.election.elector import Elector
from scheduler_core.engine.election.exchange import LoopInbox, LoopPulse
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.executing import executor_of_taken
from scheduler_core.engine.fire.cancellation import CancelWatch
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.job_cache import JobCache
from scheduler_core.engine.fire.recorder import Recorder
from scheduler_core.engine.fire.run_lock import RunLocks
from scheduler_core.engine.fire.slots import Slots
from scheduler_core.engine.fire.start_gate import StartGate
from scheduler_core.engine.fire.taking import TakenTrust
from scheduler_core.engine.replica_context import ReplicaContext
from scheduler_core.engine.supervision import TaskGroup
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.election import RESIGN_REQUEST, Instance, Leadership, Locks
from scheduler_core.ports.runs import CANCEL_REQUEST
from scheduler_core.ports.storage import Storage

ASK_AGAIN_SECONDS = (0.05, 1.0)
"""First and longest pause while Postgres can't be asked."""

LOOK_EVERY_SECONDS = 1.0
CUT_OFF_SECONDS = 5.0
LAST_WORDS_SECONDS = 5.0


class Worker:
    """Takes attempts that a leader hands out, makes them and records how they ended.

    Usable in one event loop, from `start` to `stop`.

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
        application: str = "",
        clock_jump_limit_seconds: float = CLOCK_JUMP_LIMIT_SECONDS,
        allowed_callbacks: Sequence[str] = (),
        own_modules: OwnModules | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        self.instance = replace(instance, eligible=False)
        self.callbacks = CallbackRegistry(application, allowed_callbacks, own_modules=own_modules)
        self._storage = storage
        self._timing = timing
        self._find_locks = locks
        self._max_concurrent_runs = max_concurrent_runs
        self._logger: LoggerLike = logger or logging.getLogger("scheduler_core")
        self._clock_jump_limit_seconds = clock_jump_limit_seconds
        self._taking: set[UUID] = set()
        self._working: set[asyncio.Task[Told | None]] = set()

    def allow(self, names: Iterable[str]) -> None:
        """Let these callbacks be called here, by name: another process of the same service has declared them."""
        for reference in names:
            self.callbacks.register(reference)

    async def start(self) -> None:
        """Connect, and hold the life witness. Raises ServerUnreachableError, SchemaError."""
        self._prepare()
        await self._elector.start()
        await self._jobs.read_calendars_revision()
        await self._clock_guard.look(None)
        self._recorder.start()
        self._tasks.keep_going(self._watch, "worker watch")
        self._tasks.keep_going(self._cancels.work, "worker cancels")

    def _prepare(self) -> None:
        storage, logger, me = self._storage, self._logger, self.instance.instance_id
        counters, life = Counters(), LeaderTrust()
        limit_seconds = self._clock_jump_limit_seconds
        self._clock_guard = ClockGuard(storage.clock, me, limit_seconds=limit_seconds, logger=logger)
        clock = self._clock_guard.clock
        self._context = ReplicaContext(self.instance, self._timing, storage, self._clock_guard, counters, logger)
        self._tasks = TaskGroup(logger)
        self._threads = ThreadPoolExecutor(self._max_concurrent_runs, thread_name_prefix="scheduler-job")
        self._trust = trust = TakenTrust(life, self._timing)
        self._jobs = JobCache(storage, logger)
        self._slots = Slots(self._max_concurrent_runs)
        self._recorder = recorder = Recorder(storage.runs, me, counters=counters, logger=logger)
        self._in_flight = in_flight = InFlightRuns(clock, recorder, Wake(), logger)
        start_gate = StartGate()
        recorder.listeners += [counters, in_flight, start_gate]
        self._executor = executor_of_taken(
            self._context,
            trust=trust,
            in_flight=in_flight,
            start_gate=start_gate,
            # Whoever takes an attempt here has one of `self._slots` already.
            slots=Slots(self._max_concurrent_runs),
            threads=self._threads,
            jobs=self._jobs,
            callbacks=self.callbacks,
            locks=RunLocks(self._find_locks, logger),
            recorder=recorder,
        )
        self._pulse = LoopPulse(in_flight, self.callbacks.abilities())
        self._elector = Elector(
            instance=self.instance,
            timing=self._timing,
            storage=storage,
            trust=life,
            pulse=self._pulse,
            listener=LoopInbox(self),
            redis_outage=RedisOutage.HOLD,
            logger=logger,
            uses_lease=False,
        )
        self._cancels = CancelWatch(storage.requests, me, in_flight, logger)

    async def stop(self, drain_timeout_seconds: float) -> None:
        """End what has been begun, for at most so long; the rest is cut off and goes back. Then leave."""
        if self._working:
            _, left = await asyncio.wait(self._working, timeout=drain_timeout_seconds)
            for active in self._in_flight.active():
                active.stop()
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=CUT_OFF_SECONDS)
        await self._tasks.stop()
        await self._recorder.stop(timeout_seconds=LAST_WORDS_SECONDS)
        await self._elector.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def execute(self, ticket: Ticket) -> Told | None:
        """Take the attempt, make it, record how it ended; None where there is nothing to take.

        Returns once the outcome is durable. Cancelled from outside: what was begun goes on, and nobody is told.
        """
        if ticket.run_id in self._taking:
            return None
        self._taking.add(ticket.run_id)
        task = asyncio.create_task(self._execute(ticket), name=f"ticket {ticket.run_id}")
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        try:
            return await asyncio.shield(task)
        finally:
            self._taking.discard(ticket.run_id)

    async def _execute(self, ticket: Ticket) -> Told | None:
        async with self._slots.of_all:
            run = await self._take(ticket)
            if run is None:
                return None
            try:
                outcome = await self._execute_taken(run)
            finally:
                self._trust.forget(run)
                # Also where it is tried again: the next attempt is another ticket's, and may come here.
                self._in_flight.release(run)
        if outcome is None:
            return None
        try:
            await self._recorder.record_durably(outcome)
        except SchedulerError as error:
            self._logger.warning("ticket %s is left to recovery: %s", ticket.run_id, error)
            return None
        return Told(outcome.status, outcome.next_attempt_at, outcome.failure)

    async def _execute_taken(self, run: Run) -> Outcome | None:
        self._in_flight.schedule(run)
        self._in_flight.begin_waiting(run)
        # In a task of its own: a callback may leave a cancel of its task behind, and what it came to is yet to be told.
        return await asyncio.create_task(self._executor.execute(run), name=f"run {run.job_id}")

    async def _take(self, ticket: Ticket) -> Run | None:
        """Take the attempt; asked until it is answered, because an answer that got lost may have been a yes."""
        pause = ASK_AGAIN_SECONDS[0]
        while True:
            try:
                sent_at = boottime()
                run = await self._storage.runs.take(ticket, self.instance.instance_id)
            except ServerUnreachableError as error:
                self._logger.warning("ticket %s waits for Postgres: %s", ticket.run_id, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, ASK_AGAIN_SECONDS[1])
                continue
            if run is not None:
                self._trust.take(run, sent_at)
            return run

    # What goes on beside.

    def leadership_changed(self, leadership: Leadership | None, reason: str) -> None:
        """A worker leads nothing."""

    def nudged(self, message: str) -> None:
        """Somebody says that something has changed."""
        if message.startswith(CANCEL_REQUEST):
            self._cancels.hint(message.removeprefix(CANCEL_REQUEST))
        elif message and not message.startswith(RESIGN_REQUEST):
            self._jobs.invalidate(message)

    async def _watch(self) -> None:
        while True:
            self._pulse.beat()
            await self._clock_guard.look(None)
            self._jobs.observe_calendars(await self._storage.calendars.revision())
            await asyncio.sleep(LOOK_EVERY_SECONDS)

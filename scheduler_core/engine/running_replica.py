"""What belongs to one start of a replica: its event loop, its threads, and the parts that work in them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from scheduler_core.domain.election.trust import RedisOutage, Timing
from scheduler_core.domain.errors import ExecutorError, SchedulerError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.domain.runs.ticket import LOCAL
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.clock_guard import ClockGuard
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.declarations import DeclaredJobs
from scheduler_core.engine.election.elector import Elector
from scheduler_core.engine.election.exchange import LoopInbox, LoopPulse
from scheduler_core.engine.election.resign_watch import ResignWatch
from scheduler_core.engine.election.surroundings import THIS_MACHINE, Surroundings
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.executing import Executing
from scheduler_core.engine.fire.attempts import Attempts
from scheduler_core.engine.fire.callback_call import CallbackCall
from scheduler_core.engine.fire.cancellation import CancelWatch
from scheduler_core.engine.fire.claiming import Claiming
from scheduler_core.engine.fire.elsewhere import RunsElsewhere
from scheduler_core.engine.fire.forgotten_ends import ForgottenEnds
from scheduler_core.engine.fire.in_flight import AllInFlight, InFlightRuns
from scheduler_core.engine.fire.job_cache import JobCache
from scheduler_core.engine.fire.limits import SharedLimits
from scheduler_core.engine.fire.offering import Offering
from scheduler_core.engine.fire.overlap_gate import OverlapGate
from scheduler_core.engine.fire.recorder import Recorder
from scheduler_core.engine.fire.recovery import Recovery
from scheduler_core.engine.fire.retry import Retry
from scheduler_core.engine.fire.run_executor import RunExecutor
from scheduler_core.engine.fire.run_lock import RunLocks
from scheduler_core.engine.fire.slots import Slots
from scheduler_core.engine.fire.start_gate import StartGate
from scheduler_core.engine.fire.start_timers import StartTimers
from scheduler_core.engine.fire.tracing import traced
from scheduler_core.engine.leader_loop import LeaderLoop
from scheduler_core.engine.remote.executors import Executors
from scheduler_core.engine.remote.handing import Handing
from scheduler_core.engine.replica_context import ReplicaContext
from scheduler_core.engine.status_cache import StatusCache
from scheduler_core.engine.supervision import TaskGroup
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.election import RESIGN_REQUEST, Instance, Leadership, Locks
from scheduler_core.ports.runs import CANCEL_REQUEST
from scheduler_core.ports.storage import Storage

MARK_RUNNING_AFTER_SECONDS = 0.25
CLOCK_READINGS = 3
CLOCK_EVERY_SECONDS = 1.0
LAST_WORDS_SECONDS = 5.0
"""How long a stop waits for outcomes to be durable."""


@dataclass(frozen=True, slots=True)
class ReplicaParts:
    """What a replica is made of that outlives its start: given once, used by each."""

    instance: Instance
    timing: Timing
    storage: Storage
    redis_outage: RedisOutage
    find_locks: Callable[[], Locks] | None
    callbacks: CallbackRegistry
    executors: Executors
    statuses: StatusCache
    counters: Counters
    max_concurrent_runs: int
    drain_timeout_seconds: float
    clock_jump_limit_seconds: float
    logger: LoggerLike
    surroundings: Surroundings = THIS_MACHINE


class RunningReplica:
    """The parts of a replica that belong to one start of it. Made in the event loop that it works in."""

    def __init__(self, parts: ReplicaParts) -> None:
        instance, storage, logger, machine = parts.instance, parts.storage, parts.logger, parts.surroundings
        self._parts = parts
        self._tasks = TaskGroup(logger)
        self._threads = ThreadPoolExecutor(parts.max_concurrent_runs, thread_name_prefix="scheduler-job")
        self.clock_guard = ClockGuard(
            storage.clock,
            instance.instance_id,
            limit_seconds=parts.clock_jump_limit_seconds,
            logger=logger,
            machine=machine,
        )
        self.clock = clock = self.clock_guard.clock
        self.trust = trust = LeaderTrust(machine)
        self.context = ReplicaContext(instance, parts.timing, storage, self.clock_guard, parts.counters, logger)
        self._recovery_wake = recovery_wake = Wake()
        slots: dict[str, Slots] = defaultdict(lambda: Slots(parts.max_concurrent_runs))
        elsewhere, start_gate = RunsElsewhere(storage.runs, machine), StartGate()

        self.jobs = JobCache(storage, logger, machine)
        self.locks = RunLocks(parts.find_locks, logger)
        self.recorder = recorder = Recorder(
            storage.runs, instance.instance_id, counters=parts.counters, logger=logger, machine=machine
        )
        self.in_flight = in_flight = InFlightRuns(clock, recorder, recovery_wake, logger, machine)
        listeners = (parts.counters, parts.statuses)
        recorder.listeners += [*listeners, in_flight, start_gate, elsewhere]
        self.attempts = traced(
            Attempts(
                journal=recorder,
                call=CallbackCall(trust, recorder, self._threads, clock),
                trust=trust,
                clock=clock,
                slots=slots[LOCAL],
                gate=start_gate,
                retry=Retry(),
                logger=logger,
            ),
            instance.instance_id,
        )
        self.remote = Handing(
            executors=parts.executors,
            runs=storage.runs,
            instance_id=instance.instance_id,
            clock=clock,
            recorder=recorder,
            trust=trust,
            slots=slots,
            in_flight=in_flight,
            listeners=listeners,
            wake=recovery_wake,
            logger=logger,
        )
        gate = OverlapGate(clock, recorder, elsewhere, trust)
        self.offering = Offering(storage.runs, clock, trust, elsewhere, gate, in_flight, logger)
        self.limits = SharedLimits(storage.runs, journal=recorder, trust=trust, in_flight=in_flight, logger=logger)
        recorder.listeners.append(self.limits)
        self.executing = Executing(
            self.context,
            executors=instance.executes,
            slots_count=parts.max_concurrent_runs,
            life=trust,
            jobs=self.jobs,
            callbacks=parts.callbacks,
            locks=self.locks,
            recorder=recorder,
            machine=machine,
        )
        self.all_in_flight = all_in_flight = AllInFlight(in_flight, self.executing.in_flight)
        self.executor = RunExecutor(
            clock=clock,
            journal=recorder,
            trust=trust,
            in_flight=in_flight,
            jobs=self.jobs,
            callbacks=parts.callbacks,
            gate=gate,
            slots=slots,
            locks=self.locks,
            attempts=self.attempts,
            logger=logger,
            remote=self.remote,
            offering=self.offering,
            limits=self.limits,
        )
        timers = StartTimers(clock, in_flight, self.executor)
        self.claiming = Claiming(
            storage.runs,
            clock_guard=self.clock_guard,
            jobs=self.jobs,
            callbacks=parts.callbacks,
            in_flight=in_flight,
            timers=timers,
            offering=self.offering,
            recorder=recorder,
            recovery=recovery_wake,
            counters=parts.counters,
            logger=logger,
        )
        recovery = Recovery(
            storage.runs,
            instance.instance_id,
            ttl_seconds=parts.timing.ttl_seconds,
            in_flight=in_flight,
            timers=timers,
            elsewhere=elsewhere,
            jobs=self.jobs,
            wake=recovery_wake,
            counters=parts.counters,
            logger=logger,
            machine=machine,
        )
        self.pulse = LoopPulse(all_in_flight, parts.callbacks.abilities(), machine)
        self.elector = Elector(
            instance=instance,
            timing=parts.timing,
            storage=storage,
            trust=trust,
            pulse=self.pulse,
            listener=LoopInbox(self),
            redis_outage=parts.redis_outage,
            logger=logger,
            surroundings=machine,
        )
        self._forgotten_ends = ForgottenEnds(
            storage.runs,
            instance.instance_id,
            elector=self.elector,
            in_flight=all_in_flight,
            ttl_seconds=parts.timing.ttl_seconds,
            counters=parts.counters,
            logger=logger,
            machine=machine,
        )
        self.leader_loop = LeaderLoop(
            self.context,
            elector=self.elector,
            trust=trust,
            claiming=self.claiming,
            recovery=recovery,
            recovery_wake=recovery_wake,
            timers=timers,
            recorder=recorder,
            remote=self.remote,
            tasks=self._tasks,
        )
        self._cancels = CancelWatch(storage.requests, instance.instance_id, all_in_flight, logger, self.remote, machine)
        self._resignations = ResignWatch(storage.requests, trust, self.leader_loop, logger)

    # Life.

    async def warm_up(self, job_ids: list[str]) -> None:
        """Have ready what a takeover should not wait for. Raises SchedulerError.

        Parameters: job_ids, whose definitions are read beforehand; each plan compares their versions.
        """
        await self._parts.storage.runs.warm_up()
        await self.jobs.read_calendars_revision()
        await self.jobs.load(job_ids)
        for _ in range(CLOCK_READINGS):
            # Its connection is warm then, and a takeover need not wait for either.
            await self.clock_guard.look(self.trust.leadership())

    def begin(self) -> None:
        """Record, lead while elected, and look after what executes: until `stop`."""
        self.recorder.start()
        self._forgotten_ends.begin()
        for work, name in (
            (self.leader_loop.work, "scheduler loop"),
            (self._watch_runs, "scheduler watch"),
            (self._look_after_clock, "scheduler clock"),
            (self._parts.statuses.keep_fresh, "scheduler statuses"),
            (self._cancels.work, "scheduler cancels"),
            (self._resignations.work, "scheduler resignations"),
        ):
            self._tasks.keep_going(work, name)
        self.executing.begin(self._tasks)

    async def give_up(self) -> None:
        """Leave the election after a start that failed."""
        await self.elector.stop()
        self._threads.shutdown(wait=False)
        self.executing.end()

    async def leave_behind(self) -> None:
        """Leave the election after the loop of everything else was closed."""
        self.elector.retire()
        try:
            await self.elector.resign("stopped")
        except (SchedulerError, TimeoutError) as error:
            self._parts.logger.warning("resigned without telling anybody; the lease's TTL tells: %s", error)
        await self.elector.stop()
        self._parts.executors.forget()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.executing.end()

    async def stop(self) -> None:
        """Resign, let running work end for at most `drain_timeout_seconds`, and leave; the rest is left to recovery."""
        limit_seconds = self._parts.drain_timeout_seconds
        await self.executing.hand_back()
        await self.leader_loop.resign("stopped", for_good=True)
        self.remote.leave_alone()
        await asyncio.gather(
            self.executor.drain(limit_seconds),
            self.executing.drain(limit_seconds),
            self._tasks.drain(limit_seconds),
            self._parts.executors.stop(limit_seconds, self._parts.logger),
        )
        await self._tasks.stop()
        await self.recorder.stop(timeout_seconds=LAST_WORDS_SECONDS)
        await self.elector.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.executing.end()
        self._parts.counters.loop_rests()

    def take_in(self, declared: DeclaredJobs) -> None:
        """These jobs have just been stored: they need not be read, and perhaps they can be called now."""
        self.jobs.put(declared.added)
        self.claiming.retry(declared.job_ids)
        for name in declared.executors:
            # A successor's first fire should not wait for a process to be started.
            self._tasks.spawn(self._start_executor(name), f"scheduler starts executor {name}")
        self.leader_loop.wake.wake()

    async def _start_executor(self, name: str) -> None:
        try:
            executor = self._parts.executors.get(name)
            if executor is not None:
                await executor.start()
        except ExecutorError as error:
            self._parts.logger.warning("the executor %r is not ready: %s", name, error)

    # What goes on beside.

    async def _watch_runs(self) -> None:
        """Mark what lasts as running, and show the elector that this loop moves."""
        while True:
            self.pulse.beat()
            now = self.clock.monotonic()
            self._parts.counters.see_loop(now, MARK_RUNNING_AFTER_SECONDS / 2)
            before = now - MARK_RUNNING_AFTER_SECONDS
            for active in self.all_in_flight.calling():
                if not active.is_noted and active.started_monotonic <= before:
                    active.is_durable = active.is_noted = True
                    self.recorder.record_soon(active.as_running())
            await asyncio.sleep(MARK_RUNNING_AFTER_SECONDS / 2)

    async def _look_after_clock(self) -> None:
        """Read the database's clock again and again, and see to what got lost: releases of locks, ends of attempts."""
        while True:
            await asyncio.sleep(CLOCK_EVERY_SECONDS)
            try:
                await self.clock_guard.look(self.trust.leadership())
                await self.locks.release_abandoned()
                await self._forgotten_ends.look()
            except SchedulerError as error:
                self._parts.logger.debug("the clock is read again: %s", error)

    # What the elector tells, in the scheduler's own loop.

    def leadership_changed(self, leadership: Leadership | None, reason: str) -> None:
        """This replica leads from now on, or leads no more."""
        self.leader_loop.leadership_changed(leadership, reason)

    def nudged(self, message: str) -> None:
        """Somebody says that something has changed, a job or a request: a hint to look. Anybody may say anything."""
        if message.startswith(RESIGN_REQUEST):
            self._resignations.hint(message.removeprefix(RESIGN_REQUEST))
            return
        if message.startswith(CANCEL_REQUEST):
            self._cancels.hint(message.removeprefix(CANCEL_REQUEST))
            return
        if message:
            self.jobs.invalidate(message)
            self.claiming.retry([message])
            self._parts.statuses.change(message)
        self.claiming.changed()
        self._recovery_wake.wake()
        self.leader_loop.wake.wake()

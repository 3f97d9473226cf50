"""One replica's scheduler: its life, and what may be asked of it.

What it is made of, top to bottom: `election` says who leads; `leader_loop` claims while this replica does, and recovers
what others left behind; `fire` takes each run from its instant to its outcome; `running_replica` joins them for one
start. `declarations` keeps what code declares, `operations` are the verbs. Every replica runs what it once started to
its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.clock import CLOCK_JUMP_LIMIT_SECONDS
from scheduler_core.domain.election.health import HealthSnapshot
from scheduler_core.domain.election.trust import RedisOutage, State, Timing
from scheduler_core.domain.errors import NotInitializedError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.domain.jobs.status import JobStatus
from scheduler_core.domain.planning.planning import Plan, StoredJob
from scheduler_core.domain.runs.run import LoggerLike, Outcome, Run
from scheduler_core.domain.runs.ticket import LOCAL
from scheduler_core.engine.callbacks.own_modules import OwnModules
from scheduler_core.engine.callbacks.registry import Callback, CallbackRegistry
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.declarations import Declarations
from scheduler_core.engine.election.surroundings import THIS_MACHINE, Surroundings
from scheduler_core.engine.fire.run_lock import RunLock
from scheduler_core.engine.operations.calendars import CalendarOperations
from scheduler_core.engine.operations.jobs import Operations
from scheduler_core.engine.operations.runs import RunOperations
from scheduler_core.engine.remote.executors import Executors
from scheduler_core.engine.running_replica import ReplicaParts, RunningReplica
from scheduler_core.engine.status_cache import CHUNK, StatusCache
from scheduler_core.ports.election import Instance, Leadership, Locks
from scheduler_core.ports.storage import Storage
from scheduler_core.runtime.loop_affinity import Elsewhere, LoopAffinity

REMEDIES = {
    Elsewhere.FORK: "Make one of its own here, after the fork: SchedulerService.init(), the jobs again that were added "
    "by add_job, then start()",
    Elsewhere.AFTER_THE_END: "Start, use and stop it inside of one asyncio.run(main()); to begin anew here, "
    "await SchedulerService.shutdown(), then init() and start()",
    Elsewhere.OTHER_LOOP: "Hand the call over to the loop that started it: "
    "asyncio.run_coroutine_threadsafe(SchedulerService.{verb}(...), loop).result()",
}
"""What to do about a verb that is called where the scheduler is not."""


class BaseScheduler:
    """One replica's scheduler. Usable many times in one process; `SchedulerService` is one of them.

    Args:
        storage: Where jobs and runs live.
        instance: This process.
        timing: The election's.
        locks: Gives the lock service of jobs with `use_distributed_lock` when one first needs it. None: there is none.
        default_timezone: The IANA name for jobs without one.
        default_executor: For jobs without one.
        max_concurrent_runs: Callbacks of one executor that execute at once.
        drain_timeout_seconds: How long a stop waits for them.
        history_days: How long runs are kept; a backfill begins no earlier.
        clock_jump_limit_seconds: A jump of the database's clock beyond it stops planning; 0: none does.
        redis_outage: Whether it leads by Postgres alone while Redis is away (`hold`), or not (`stop`).
        application: Whose jobs this replica calls.
        allowed_callbacks: Modules whose functions jobs may name beside those that are declared or marked.
        own_modules: The application's own modules, whose functions its jobs may name. None: none.
        is_application_named: False where `application` is a mere default, which another program may have as well.
        executors: What calls the callbacks of jobs that name another than `local`. None: there are no others.
        logger: Any object with a stdlib logger's methods. None: the logger `scheduler_core`.
        surroundings: The machine: its clocks, dice and threads.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        instance: Instance,
        timing: Timing,
        locks: Callable[[], Locks] | None = None,
        default_timezone: str = "UTC",
        default_executor: str = LOCAL,
        max_concurrent_runs: int = 100,
        drain_timeout_seconds: float = 30.0,
        history_days: int = 30,
        clock_jump_limit_seconds: float = CLOCK_JUMP_LIMIT_SECONDS,
        redis_outage: RedisOutage = RedisOutage.HOLD,
        application: str = "",
        allowed_callbacks: Sequence[str] = (),
        own_modules: OwnModules | None = None,
        is_application_named: bool = True,
        executors: Executors | None = None,
        logger: LoggerLike | None = None,
        surroundings: Surroundings = THIS_MACHINE,
    ) -> None:
        self.instance = instance
        self.default_timezone = default_timezone
        self.callbacks = CallbackRegistry(
            application, allowed_callbacks, own_modules=own_modules, is_name_given=is_application_named
        )
        self.counters = Counters()
        actor = Actor(Source.CODE, f"{instance.instance_name}@{instance.host}")
        self.operations = Operations(
            storage,
            instance.instance_id,
            actor,
            application=application,
            clock_jump_limit_seconds=clock_jump_limit_seconds,
            machine=surroundings,
        )
        self.calendar_operations = CalendarOperations(storage.calendars, actor)
        self.run_operations = RunOperations(
            storage,
            instance.instance_id,
            history_days=history_days,
            clock_jump_limit_seconds=clock_jump_limit_seconds,
            machine=surroundings,
        )
        self._logger: LoggerLike = logger or logging.getLogger("scheduler_core")
        self._statuses = StatusCache(storage.jobs, self._logger, surroundings)
        self._parts = ReplicaParts(
            instance=instance,
            timing=timing,
            storage=storage,
            redis_outage=redis_outage,
            find_locks=locks,
            callbacks=self.callbacks,
            executors=executors or Executors(dict),
            statuses=self._statuses,
            counters=self.counters,
            max_concurrent_runs=max_concurrent_runs,
            drain_timeout_seconds=drain_timeout_seconds,
            clock_jump_limit_seconds=clock_jump_limit_seconds,
            logger=self._logger,
            surroundings=surroundings,
        )
        self._declarations = Declarations(
            storage=storage,
            instance_id=instance.instance_id,
            callbacks=self.callbacks,
            operations=self.operations,
            calendar_operations=self.calendar_operations,
            statuses=self._statuses,
            default_timezone=default_timezone,
            default_executor=default_executor,
            logger=self._logger,
        )
        self._running: RunningReplica | None = None
        self._is_stopping = False
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[None]] = set()
        self.home = LoopAffinity("the scheduler", REMEDIES, is_of_process=True)

    # Life.

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._running is not None

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads, as far as it may believe at this instant."""
        return self.leadership is not None

    @property
    def leadership(self) -> Leadership | None:
        """Under which term this replica leads, as far as it may believe at this instant; None while it does not."""
        running = self._running
        return None if running is None else running.trust.leadership()

    def health_snapshot(self) -> HealthSnapshot:
        """What this replica knows of itself, without waiting; any thread may ask."""
        running = self._running
        about: dict[str, Any] = {
            "instance_id": self.instance.instance_id,
            "instance_name": self.instance.instance_name,
            "version": self.instance.version,
            "is_stopping": self._is_stopping,
            "stall_timeout_seconds": self._parts.timing.stall_timeout_seconds,
            "max_concurrent_runs": self._parts.max_concurrent_runs,
        }
        if running is None:
            return HealthSnapshot(state=State.STARTING, **about)
        leadership = running.trust.leadership()
        return HealthSnapshot(
            state=running.elector.state,
            leads=leadership is not None,
            term=None if leadership is None else leadership.term,
            is_started=True,
            holds_life=running.trust.holds_life,
            stalled_seconds=running.pulse.stalled_seconds,
            runs_in_hand=len(running.all_in_flight),
            runs_executing=sum(1 for _ in running.all_in_flight.calling()),
            outcomes_queued=running.recorder.queued,
            clock_skew_seconds=running.clock.skew_seconds(),
            clock_jump=running.clock_guard.jump,
            transitions=dict(running.elector.transitions),
            lease_errors=running.elector.lease_errors,
            **about,
        )

    async def start(self) -> None:
        """Connect, take part in the election, store the jobs added so far.

        Returns once this replica takes part. Starting twice is harmless. Where it raises, nothing runs, and `start` may
        be called again.

        Raises:
            ServerUnreachableError: A server can't be reached, or refuses us.
            SchemaError: The schema does not fit this code.
            InvalidJobError: One of the jobs can't be accepted.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        self.home.enter("start")
        try:
            await self._start()
        finally:
            if self._running is None:
                self.home.leave()

    async def _start(self) -> None:
        async with self._changing:
            if self._running is not None:
                return
            self._is_stopping = False
            running = RunningReplica(self._parts)
            try:
                await running.elector.start()
                self.operations.started_at = running.elector.started_at
                declared = await self._declarations.store_all()
                await self._declarations.announce(running.pulse)
                await running.warm_up(self._statuses.first(CHUNK))
            except BaseException:
                await self._carry_through(running.give_up())
                raise
            running.begin()
            running.take_in(declared)
            # Another start that waited for this one may have given up, and left.
            self.home.enter("start")
            self._running = running

    async def stop(self) -> None:
        """Resign, let running work end, and leave.

        What has not started is handed back before the term ends, so that the successor starts it at once. What
        runs may go on for `drain_timeout_seconds`; the rest is cancelled and left to recovery. Stopping twice is
        harmless. Whoever stops waiting for this changes nothing: the replica leaves all the same.

        Raises:
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        if self.home.has_ended and not self.home.is_inherited:
            await self._leave_behind()
        self.home.check("stop")
        await self._carry_through(self._stop())

    async def _leave_behind(self) -> None:
        """Leave the election after the loop was closed under the scheduler: of what ran there nothing is left to wait
        for, and a successor recovers it.
        """
        self._logger.warning("the scheduler's event loop was closed before a stop: what ran there was cut off")
        running, self._running, self._is_stopping = self._running, None, True
        self._changing = asyncio.Lock()
        self.home.leave()
        if running is not None:
            await running.leave_behind()

    async def _stop(self) -> None:
        async with self._changing:
            if self._running is None:
                return
            self._is_stopping = True
            try:
                await self._running.stop()
            finally:
                self._running = None
                self.home.leave()

    async def resign(self, reason: str = "resigned") -> None:
        """Give leadership up for another replica; harmless for one that does not lead.

        Whoever stops waiting for this changes nothing: the term ends all the same.

        Args:
            reason: Why, for the log and the record of leaderships.

        Raises:
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        self.home.check("resign")
        if self._running is not None:
            await self._carry_through(self._running.leader_loop.resign(reason))

    async def _carry_through(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it to the end, also when nobody waits for that any more."""
        task = asyncio.create_task(work, name="scheduler changes")
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        await asyncio.shield(task)

    # Jobs.

    async def add_job(self, job: ScheduleJob) -> None:
        """Declare a job; see `add_jobs`.

        Args:
            job: The job.

        Raises:
            InvalidJobError: The job can't be accepted.
            TypeError: What was given is no `ScheduleJob`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        await self.add_jobs([job])

    async def add_jobs(self, jobs: Sequence[ScheduleJob]) -> None:
        """Declare jobs. New ones are stored, changed ones settled, the same ones left alone.

        Before `start` they are kept and stored then.

        Args:
            jobs: The jobs, each with an id of its own.

        Raises:
            InvalidJobError: One of them can't be accepted; nothing has been stored.
            TypeError: One of them is no `ScheduleJob`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        self.home.check("add_job")
        for job in jobs:
            if not isinstance(job, ScheduleJob):
                raise TypeError(f"add_job takes a ScheduleJob, not {type(job).__name__}")
        if self._running is None:
            # A start that is under way may be past the jobs that were kept for it.
            async with self._changing:
                pass
        if self._running is None:
            self._declarations.keep(jobs)
            return
        running = self._running
        declared = await self._declarations.store(jobs)
        await self._declarations.announce(running.pulse)
        running.take_in(declared)

    async def remove_job(self, job_id: str) -> None:
        """Remove a job; its history stays.

        Args:
            job_id: Which job.

        Raises:
            JobNotFoundError: There is no such job; before `start`, none was added here.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        self.home.check("remove_job")
        if self._running is None:
            self._declarations.forget(job_id)
            return
        await self.operations.remove(job_id)
        self._declarations.drop(job_id)

    async def revert_job(self, job_id: str, version: int) -> bool:
        """Bring back an earlier definition of a job; see `Operations.revert`.

        Args:
            job_id: Which job.
            version: From which version on the job had the definition.

        Returns:
            False if the job has that definition now.

        Raises:
            JobNotFoundError: There is no such job.
            JobVersionNotFoundError: The log has no definition of the job under this version.
            InvalidJobError: The definition can't be read any more, or names a calendar or an executor that does not
                exist.
            JobConflictError: Others kept changing the job.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        self.home.check("revert_job")
        return await self.operations.revert(job_id, version)

    async def add_calendar(self, calendar: Calendar) -> None:
        """Store a calendar, in place of one of the same name; before `start` it is kept and stored then.

        It counts for every occurrence that is not claimed yet. Add it before the jobs that name it.

        Args:
            calendar: The calendar.

        Raises:
            TypeError: What was given is no `Calendar`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        self.home.check("add_calendar")
        if not isinstance(calendar, Calendar):
            raise TypeError(f"add_calendar takes a Calendar, not {type(calendar).__name__}")
        if self._running is not None:
            await self.calendar_operations.put(calendar)
        self._declarations.keep_calendar(calendar)

    async def remove_calendar(self, name: str) -> None:
        """Remove a calendar that no job names.

        Args:
            name: Which calendar.

        Raises:
            CalendarInUseError: A job names it.
            CalendarNotFoundError: There is no such calendar; before `start`, none was added here.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        self.home.check("remove_calendar")
        if self._running is None:
            self._declarations.forget_calendar(name)
            return
        await self.calendar_operations.remove(name)
        self._declarations.drop_calendar(name)

    def get_job_status(self, job_id: str) -> JobStatus | None:
        """The last known state of a job that this process added.

        Args:
            job_id: Which job.

        Returns:
            The state from memory, without asking the database; None for any other job.
        """
        return self._statuses.get(job_id)

    def get_all_jobs_status(self) -> dict[str, JobStatus]:
        """The last known state of every job that this process added, by job_id."""
        return self._statuses.all()

    # The steps of a fire, by the names that the service was first described with. `engine.fire` has each of them.

    @property
    def running(self) -> RunningReplica:
        """What belongs to this start.

        Raises:
            NotInitializedError: Before `start`.
        """
        if self._running is None:
            raise NotInitializedError("the scheduler has not been started: await start() first")
        return self._running

    async def _scheduler_loop(self) -> None:
        """Lead whenever this replica is elected."""
        await self.running.leader_loop.work()

    def _calculate_next_run(self, job: StoredJob, now: datetime) -> Plan:
        """Which occurrences fire now, and where the cursor goes."""
        return self.running.claiming.calculate_next_run(job, now)

    async def _execute_job(self, run: Run, *, in_order: bool = False) -> Outcome | None:
        """Execute a run whose instant has come, from finding its callback to its outcome."""
        return await self.running.executor.execute(run, in_order=in_order)

    async def _execute_job_with_lock(self, run: Run, job: StoredJob, callback: Callback, lock: RunLock) -> Outcome:
        """Execute it under the job's distributed lock."""
        return await self.running.executor.execute_with_lock(run, job, callback, lock)

    async def _execute_job_direct(self, run: Run, job: StoredJob, callback: Callback) -> Outcome:
        """Call the callback, again after a failure."""
        return await self.running.executor.execute_direct(run, job, callback, None)

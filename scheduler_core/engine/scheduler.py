"""The scheduler of one replica: what is due → plan → claim → start at the instant → record.

    due      jobs whose cursor is reached within the next 50 ms, by the database's clock
    plan     which occurrences fire and which are only counted: pure, in `domain.planning`
    claim    one fenced statement moves the cursors and inserts the runs: from here on nothing is lost
    start    a timer, at the run's own instant: asks the trust window, the pause, the overlap, there and then
    execute  the callback, with its lock, its time limit and its retries
    record   the outcome, in a batch with others

Only the leader goes through the first three. Every replica runs what it once started to its end.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from scheduler_core.domain.actor import Actor, Source
from scheduler_core.domain.calendars import Calendar
from scheduler_core.domain.errors import (
    CalendarNotFoundError,
    CallbackNotFoundError,
    ExecutorError,
    InvalidJobError,
    JobNotFoundError,
    NotLeaderError,
    SchedulerError,
)
from scheduler_core.domain.health import Vitals
from scheduler_core.domain.job import Delivery, JobDefinition, JobStatus, ScheduleJob
from scheduler_core.domain.planning import Plan, StoredJob, plan
from scheduler_core.domain.run import Failure, LoggerLike, Origin, Outcome, Run, RunStatus
from scheduler_core.domain.ticket import LOCAL
from scheduler_core.domain.trust import RedisOutage, State, Timing
from scheduler_core.engine import cancellation
from scheduler_core.engine.attempts import Attempts
from scheduler_core.engine.begun import Begun, ended, failed, returned
from scheduler_core.engine.calendar_operations import CalendarOperations
from scheduler_core.engine.cancellation import CancelRequestedError
from scheduler_core.engine.claiming import CLAIM_AHEAD, Claiming
from scheduler_core.engine.clock import DatabaseClock
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.executors import Executors
from scheduler_core.engine.hand import Hand
from scheduler_core.engine.handing import Handing
from scheduler_core.engine.known_jobs import KnownJobs
from scheduler_core.engine.lanes import Lanes
from scheduler_core.engine.leadership import Keeper
from scheduler_core.engine.locks import LockedElsewhereError, RunLock
from scheduler_core.engine.log_context import CURRENT_RUN
from scheduler_core.engine.operations import Operations
from scheduler_core.engine.recorder import Recorder
from scheduler_core.engine.recovery import Recovery
from scheduler_core.engine.registry import Callback, Registry
from scheduler_core.engine.run_operations import RunOperations
from scheduler_core.engine.slots import Slots
from scheduler_core.engine.statuses import CHUNK, Statuses
from scheduler_core.engine.supervision import keep_going
from scheduler_core.engine.tracing import traced
from scheduler_core.ports import CANCEL_REQUEST, RESIGN_REQUEST, Instance, Leadership, Locks, Storage

IDLE_SECONDS = 1.0
MARK_RUNNING_AFTER_SECONDS = 0.25
MAINTENANCE_SECONDS = 3600.0
MAINTENANCE_DELAY_SECONDS = 10.0
CLOCK_READINGS = 3
LAST_ADOPTION_SECONDS = 1.0

AT_ITS_INSTANT = timedelta(0)


class BaseScheduler:
    """One replica's scheduler. Usable many times in one process; `SchedulerService` is one of them.

    Parameters: storage, where jobs and runs live; instance, this process; timing, the election's; locks,
    gives the lock service of jobs with `use_distributed_lock`; default_timezone, for jobs without one;
    max_concurrent_runs, callbacks of one executor that execute at once; drain_timeout_seconds, how long a stop waits
    for them; executors, what calls the callbacks of jobs that name another than `local`.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        instance: Instance,
        timing: Timing,
        locks: Callable[[], Locks] | None = None,
        default_timezone: str = "UTC",
        max_concurrent_runs: int = 100,
        drain_timeout_seconds: float = 30.0,
        history_days: int = 30,
        redis_outage: RedisOutage = RedisOutage.HOLD,
        allowed_callbacks: Sequence[str] = (),
        executors: Executors | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        self.instance = instance
        self.default_timezone = default_timezone
        self.registry = Registry(allowed_callbacks)
        self._executors = executors or Executors(dict)
        self.counters = Counters()
        actor = Actor(Source.CODE, f"{instance.instance_name}@{instance.host}")
        self.operations = Operations(storage, instance.instance_id, actor)
        self.calendar_operations = CalendarOperations(storage.calendars, actor)
        self.run_operations = RunOperations(storage, instance.instance_id, history_days=history_days)
        self._storage = storage
        self._timing = timing
        self._locks = locks
        self._drain_timeout_seconds = drain_timeout_seconds
        self._redis_outage = redis_outage
        self._max_concurrent_runs = max_concurrent_runs
        self._logger: LoggerLike = logger or logging.getLogger("scheduler_core")

        self._waiting: dict[str, ScheduleJob] = {}
        """Jobs that were added before `start`, until they are stored."""
        self._declared_calendars: dict[str, Calendar] = {}
        self._statuses = Statuses(storage.jobs, self._logger)
        self._started = False
        self._stopping = False
        self._changing = asyncio.Lock()

    # Life.

    @property
    def is_running(self) -> bool:
        return self._started

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads, as far as it may believe at this instant."""
        return self._started and self._keeper.leadership is not None

    @property
    def leadership(self) -> Leadership | None:
        return self._keeper.leadership if self._started else None

    def vitals(self) -> Vitals:
        """What this replica knows of itself, without waiting; any thread may ask."""
        started = self._started
        leadership = self.leadership
        return Vitals(
            instance_id=self.instance.instance_id,
            instance_name=self.instance.instance_name,
            version=self.instance.version,
            state=self._keeper.state if started else State.STARTING,
            leads=leadership is not None,
            term=None if leadership is None else leadership.term,
            is_started=started,
            is_stopping=self._stopping,
            holds_life=started and self._keeper.holds_life,
            stalled_seconds=self._keeper.stalled_seconds if started else 0.0,
            stall_timeout_seconds=self._timing.stall_timeout_seconds,
            runs_in_hand=len(self._hand) if started else 0,
            runs_executing=sum(1 for _ in self._hand.calling()) if started else 0,
            max_concurrent_runs=self._max_concurrent_runs,
            outcomes_queued=self._recorder.queued if started else 0,
            clock_skew_seconds=self._clock.skew_seconds() if started else None,
            transitions=dict(self._keeper.transitions) if started else {},
            lease_errors=self._keeper.lease_errors if started else 0,
        )

    async def start(self) -> None:
        """Connect, take part in the election, store the jobs added so far.

        Returns once this replica takes part. Starting twice is harmless.
        Raises ServerUnreachableError, SchemaError; then nothing runs and `start` may be called again.
        """
        async with self._changing:
            if self._started:
                return
            self._prepare()
            try:
                await self._keeper.start()
                self.operations.started_at = self._keeper.started_at
                for calendar in self._declared_calendars.values():
                    await self.calendar_operations.put(calendar)
                await self._declare_waiting(self.operations.declared)
                await self._storage.runs.warm_up()
                await self._known.read_calendars_revision()
                # A takeover then need not read the definitions first; each plan compares their versions.
                await self._known.load(self._statuses.first(CHUNK))
                for _ in range(CLOCK_READINGS):
                    await self._read_clock()
            except BaseException:
                await self._keeper.stop()
                self._threads.shutdown(wait=False)
                raise
            self._recorder.start()
            self._owned_tasks = [
                asyncio.create_task(keep_going(work, name, self._logger), name=name)
                for name, work in (
                    ("scheduler loop", self._scheduler_loop),
                    ("scheduler watch", self._watch_runs),
                    ("scheduler statuses", functools.partial(self._statuses.keep_fresh, self._refresh_clock)),
                    ("scheduler cancels", self._watch_cancels),
                )
            ]
            self._started = True

    def _prepare(self) -> None:
        """What belongs to one start: event loops, threads and the runs in hand."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._stopping = False
        self._announced: tuple[str, ...] = ()
        self._clock = DatabaseClock()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # By the run's identity: one that was handed back and adopted again is another, with the same run_id.
        self._executing: dict[int, asyncio.Task[None]] = {}
        self._slots: dict[str, Slots] = defaultdict(lambda: Slots(self._max_concurrent_runs))
        self._threads = ThreadPoolExecutor(self._max_concurrent_runs, thread_name_prefix="scheduler-job")
        self._lock_service: Locks | None = None
        self._known = KnownJobs(self._storage, self._logger)
        self._recorder = Recorder(
            self._storage.runs,
            self.instance.instance_id,
            on_late=self._came_late,
            on_recorded=self._recorded,
            counters=self.counters,
            logger=self._logger,
        )
        self._hand = Hand(
            self._clock,
            self._recorder,
            begin=self._begin,
            has_room=self._look_again,
            logger=self._logger,
        )
        self._recovery = Recovery(
            self._storage.runs,
            self.instance.instance_id,
            ttl_seconds=self._timing.ttl_seconds,
            mine=self._hand.run_ids,
            callables=self.registry.references,
            full=self._hand.full_of_backfills,
            take=lambda run: self._hand.take(run, in_order=True),
            hand_over=self._hand_over,
            counters=self.counters,
            logger=self._logger,
        )
        self._lanes = Lanes(self._clock, self._recorder, self._recovery, self._trusts)
        self._claiming = Claiming(
            self._storage.runs,
            clock=self._clock,
            known=self._known,
            registry=self.registry,
            hand=self._hand,
            recorder=self._recorder,
            counters=self.counters,
            calculate_next_run=self._calculate_next_run,
            uncallable=self._recovery.nudge,
            logger=self._logger,
        )
        attempts = Attempts(
            runs=self._storage.runs,
            instance_id=self.instance.instance_id,
            clock=self._clock,
            recorder=self._recorder,
            trusts=lambda run: self._keeper.trusts(run.term),
            holds_life=lambda: self._keeper.holds_life,
            slots=self._slots[LOCAL],
            threads=self._threads,
            logger=self._logger,
        )
        self._attempts = traced(attempts)
        self._handing = Handing(
            executors=self._executors,
            runs=self._storage.runs,
            instance_id=self.instance.instance_id,
            clock=self._clock,
            recorder=self._recorder,
            trusts=self._trusts,
            slots=self._slots,
            is_cancelling=self._hand.is_cancelling,
            told=self._told,
            let_go=self._hand.release,
            logger=self._logger,
        )
        self._keeper = Keeper(
            instance=self.instance,
            timing=self._timing,
            open_control=self._storage.open_control,
            open_lease=self._storage.open_lease,
            redis_outage=self._redis_outage,
            on_change=lambda leadership, reason: self._call_soon(self._leadership_changed, leadership, reason),
            on_nudge=lambda job_id: self._call_soon(self._nudged, job_id),
            callables=self.registry.references,
            begun=lambda: [begun.lasting() for begun in self._hand.calling()],
            logger=self._logger,
        )

    def _call_soon(self, step: Callable[..., None], *arguments: Any) -> None:
        """From the keeper's thread into the scheduler's loop."""
        try:
            self._loop.call_soon_threadsafe(step, *arguments)
        except RuntimeError:
            # The loop has been closed under a scheduler that nobody stopped: there is nobody left to tell.
            self._stopping = True

    async def stop(self) -> None:
        """Resign, let running work end, and leave.

        What has not started is handed back before the term ends, so that the successor starts it at once. What
        runs may go on for `drain_timeout_seconds`; the rest is cancelled and left to recovery. Stopping twice is
        harmless.
        """
        async with self._changing:
            if not self._started:
                return
            self._stopping = True
            await self.resign("stopped", for_good=True)
            self._handing.leave_alone()
            await asyncio.gather(self._drain(), self._executors.stop(self._drain_timeout_seconds, self._logger))
            for task in self._owned_tasks:
                task.cancel()
            await asyncio.gather(*self._owned_tasks, return_exceptions=True)
            await self._recorder.stop(timeout_seconds=5.0)
            await self._keeper.stop()
            self._threads.shutdown(wait=False, cancel_futures=True)
            self.counters.loop_rests()
            self._started = False

    async def resign(self, reason: str = "resigned", *, for_good: bool = False, heir: str | None = None) -> None:
        """Give leadership up for another replica; harmless for one that does not lead.

        Parameters: for_good, whether this replica stands no more; else it only leaves a TTL to the others;
        heir, the instance_id of the replica that is to lead next.
        """
        if not self._started:
            return
        if for_good:
            self._keeper.retire()
        if self._keeper.leadership is None:
            return
        self._hand_back()
        await self._recorder.flush(timeout_seconds=1.0)
        try:
            await self._keeper.resign(reason, heir)
        except (SchedulerError, TimeoutError) as error:
            self._logger.warning("resigned without telling anybody; the lease's TTL tells: %s", error)
        # What the claim in flight brought along after the first hand-back.
        self._hand_back()
        await self._recorder.flush(timeout_seconds=1.0)

    async def _drain(self) -> None:
        executing = {task for task in (*self._tasks, *self._executing.values()) if not task.done()}
        if not executing:
            return
        _, left = await asyncio.wait(executing, timeout=self._drain_timeout_seconds)
        for task in left:
            task.cancel()
        if left:
            self._logger.warning("%d runs did not end within the drain timeout and were cancelled", len(left))
            await asyncio.wait(left, timeout=5.0)

    async def _read_clock(self) -> None:
        """Ask the database for its time. Its connection is warm then, and a takeover need not wait for either."""
        sent_at = time.monotonic()
        now = await self._storage.jobs.now()
        self._clock.read(now, sent_at, time.monotonic())

    # Jobs.

    async def add_job(self, job: ScheduleJob) -> None:
        """Declare a job; see `add_jobs`."""
        await self.add_jobs([job])

    async def add_jobs(self, jobs: Sequence[ScheduleJob]) -> None:
        """Declare jobs. New ones are stored, changed ones settled, the same ones left alone.

        Before `start` they are kept and stored then. Raises InvalidJobError, before anything is stored.
        """
        for job in jobs:
            if not isinstance(job, ScheduleJob):
                raise TypeError(f"add_job takes a ScheduleJob, not {type(job).__name__}")
        if not self._started:
            # A start that is under way may be past the jobs that were kept for it.
            async with self._changing:
                pass
        if self._started:
            await self._declare(jobs)
        else:
            self._keep_for_start(jobs)
        self._statuses.add(jobs)

    def _keep_for_start(self, jobs: Sequence[ScheduleJob]) -> None:
        for job_id, count in Counter(job.job_id for job in jobs).items():
            if count > 1:
                raise InvalidJobError(
                    f"job_id {job_id!r} stands twice among the jobs to add: give one of them another id"
                )
        for job in jobs:
            earlier = self._waiting.get(job.job_id)
            if earlier is not None and earlier.schedule_type != job.schedule_type:
                raise InvalidJobError(
                    f"job_id {job.job_id!r} was added before with schedule_type {earlier.schedule_type!s}, now with "
                    f"{job.schedule_type!s}: give one of them another id, or remove the first one before"
                )
            self.operations.check_declaration(job)
        self._waiting.update((job.job_id, job) for job in jobs)

    async def _declare_waiting(self, again: Iterable[JobDefinition] = ()) -> None:
        """Store the jobs that were added before `start`.

        Parameters: again, what this process declared before its last stop.
        """
        waiting = list(self._waiting.values())
        await self._declare(waiting, [definition for definition in again if definition.job_id not in self._waiting])
        self._waiting.clear()

    async def _declare(self, jobs: Sequence[ScheduleJob], again: Sequence[JobDefinition] = ()) -> None:
        definitions = [*again, *(job.definition(self.default_timezone) for job in jobs)]
        for definition in definitions:
            self.operations.check_declaration(definition)
        for job in jobs:
            self.registry.bind(job.job_id, job.callback)
        if definitions:
            self._known.remember(await self.operations.declare(definitions))
            await self._announce()
            self._claiming.retry([definition.job_id for definition in definitions])
            self._statuses.add(jobs)
            await self._statuses.refresh([definition.job_id for definition in definitions[:CHUNK]])
            for name in {definition.executor for definition in definitions} - {LOCAL}:
                # A successor's first fire should not wait for a process to be started.
                self._spawn(self._start_executor(name), f"scheduler starts executor {name}")
            self._wake.set()

    async def _start_executor(self, name: str) -> None:
        try:
            executor = self._executors.get(name)
            if executor is not None:
                await executor.start()
        except ExecutorError as error:
            self._logger.warning("the executor %r is not ready: %s", name, error)

    async def _announce(self) -> None:
        """Say which callbacks can be called here, if that is news."""
        references = self.registry.references()
        if references != self._announced:
            await self._storage.jobs.announce(self.instance.instance_id, references)
            self._announced = references

    async def remove_job(self, job_id: str) -> None:
        """Remove a job; its history stays. Raises JobNotFoundError."""
        if self._started:
            await self.operations.remove(job_id)
        elif not self.operations.forget(job_id) and job_id not in self._waiting:
            raise JobNotFoundError(f"there is no job {job_id!r} among those added so far")
        self._waiting.pop(job_id, None)
        self._statuses.remove(job_id)
        self.registry.unbind(job_id)

    async def revert_job(self, job_id: str, version: int) -> bool:
        """Bring back an earlier definition of a job; see `Operations.revert`."""
        return await self.operations.revert(job_id, version)

    async def add_calendar(self, calendar: Calendar) -> None:
        """Store a calendar, in place of one of the same name; before `start` it is kept and stored then.

        It counts for every occurrence that is not claimed yet. Add it before the jobs that name it.
        """
        if not isinstance(calendar, Calendar):
            raise TypeError(f"add_calendar takes a Calendar, not {type(calendar).__name__}")
        if self._started:
            await self.calendar_operations.put(calendar)
        self._declared_calendars[calendar.name] = calendar

    async def remove_calendar(self, name: str) -> None:
        """Remove a calendar that no job names. Raises CalendarInUseError, CalendarNotFoundError."""
        if self._started:
            await self.calendar_operations.remove(name)
        elif name not in self._declared_calendars:
            raise CalendarNotFoundError(f"there is no calendar {name!r} among those added so far")
        self._declared_calendars.pop(name, None)

    def get_job_status(self, job_id: str) -> JobStatus | None:
        """The last known state of a job that this process added; None for any other."""
        return self._statuses.get(job_id)

    def get_all_jobs_status(self) -> dict[str, JobStatus]:
        """The last known state of every job that this process added, by job_id."""
        return self._statuses.all()

    # The leader's loop.

    async def _scheduler_loop(self) -> None:
        """Lead whenever this replica is elected."""
        while not self._stopping:
            leadership = self._keeper.leadership
            if leadership is None:
                await self._sleep(IDLE_SECONDS)
                continue
            work = functools.partial(self._recovery.work, leadership, functools.partial(self._leads, leadership))
            recovering = asyncio.create_task(
                keep_going(work, "scheduler recovery", self._logger), name="scheduler recovery"
            )
            try:
                await self._lead(leadership)
            finally:
                await self._end_recovery(recovering)

    async def _end_recovery(self, recovering: asyncio.Task[None]) -> None:
        """Let an adoption that is under way end, and give back what it brings: else it would wait for a TTL."""
        self._recovery.nudge()
        try:
            await asyncio.wait({recovering}, timeout=LAST_ADOPTION_SECONDS)
        finally:
            recovering.cancel()
            await asyncio.gather(recovering, return_exceptions=True)
        if self._keeper.leadership is None:
            self._hand_back()

    def _leads(self, leadership: Leadership) -> bool:
        return not self._stopping and self._keeper.leadership == leadership

    async def _lead(self, leadership: Leadership) -> None:
        self._claiming.begin_term()
        # Not in the first moments of a term: those belong to what is due.
        maintained_at = time.monotonic() - MAINTENANCE_SECONDS + MAINTENANCE_DELAY_SECONDS
        while self._leads(leadership):
            try:
                if time.monotonic() - maintained_at > MAINTENANCE_SECONDS:
                    maintained_at = time.monotonic()
                    self._spawn(self._storage.maintain(), "scheduler maintenance")
                pause = await self._claiming.claim_due(leadership)
            except NotLeaderError as error:
                self.counters.refused += 1
                self._logger.warning("%s", error)
                # The keeper finds the same at its next beat; claim nothing until it has.
                await self._sleep(self._timing.renew_every_seconds)
                continue
            except SchedulerError as error:
                self.counters.claim_errors += 1
                self._logger.warning("claiming pauses: %s", error)
                await self._sleep(0.05)
                continue
            await self._sleep(pause)

    def _calculate_next_run(self, job: StoredJob, now: datetime) -> Plan:
        """Decide which occurrences fire now and where the cursor goes: `domain.planning`, with this job's ahead."""
        ahead = AT_ITS_INSTANT if job.definition.delivery is Delivery.AT_MOST_ONCE else CLAIM_AHEAD
        if job.missing_calendars:
            self._known.miss_calendars(job)
        return plan(job, now, ahead)

    def _hand_over(self, heir: str) -> None:
        """A run waits for a callback that this replica lacks and the heir has."""
        self._logger.info("replica %s can call what this one can't: handing over", heir)
        self._spawn(self.resign("handed over for a callback", heir=heir), "scheduler hands over")

    # From a claimed run to its callback.

    def _begin(self, run: Run, in_order: bool) -> None:
        """The run's instant has come."""
        if self._keeper.trusts(run.term):
            task = self._loop.create_task(self._execute_job(run, in_order), name=f"run {run.job_id}")
            if not task.done():  # a loop whose tasks begin at once may have ended it
                self._executing[id(run)] = task
        elif self._hand.waits_no_more(run):
            # Not ours to start any more: handed back, if it still can be, and otherwise left to recovery.
            self._recorder.record_soon(returned(run))

    def _trusts(self, term: int) -> bool:
        """Whether a run of this term may start at this very instant."""
        return self._keeper.trusts(term)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.error("%s failed inside the scheduler: %r", task.get_name(), error)

    async def _execute_job(self, run: Run, in_order: bool = False) -> None:
        """Decide, at the instant of starting, whether the run starts; then execute it."""
        try:
            job = self._known.get(run.job_id) or await self._known.find(run.job_id)
            if job is None:
                await self._recorder.record(ended(run, RunStatus.SKIPPED, "removed", self._clock.now()))
                return
            if job.paused_at is not None and run.origin is Origin.SCHEDULE and run.attempt == 0:
                now = self._clock.now()
                if job.is_paused(now):
                    await self._recorder.record(ended(run, RunStatus.SKIPPED, "paused", now))
                    return
            try:
                job, callback = await self._find_callback(job)
            except CallbackNotFoundError as error:
                self._logger.error("run %s waits: %s", run.idempotency_key, error)
                self._recovery.pass_over(run.run_id)
                await self._recorder.record(returned(run, "no_callback"))
                return
            overlap = job.definition.overlap
            if await self._lanes.enter(run, overlap, in_order=in_order):
                try:
                    await self._execute_in_slot(run, job, callback)
                finally:
                    self._lanes.leave(run, overlap)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not hang for it
            # Ours, not the callback's: it ends this run and no other.
            self._logger.error("run %s failed inside the scheduler: %r", run.idempotency_key, error)
            failure = Failure("failed", type(error).__name__, f"inside the scheduler: {error}")
            await self._recorder.record(failed(run, "internal_error", failure, self._clock.now()))
        finally:
            self._hand.waits_no_more(run)
            self._executing.pop(id(run), None)

    async def _find_callback(self, job: StoredJob) -> tuple[StoredJob, Callback]:
        """The job's callback, and the job as it is now; what is remembered of it may be older than an edit by hand.

        Raises CallbackNotFoundError.
        """
        try:
            return job, self.registry.find(job.definition)
        except CallbackNotFoundError:
            self._known.forget(job.job_id)
            fresh = await self._known.find(job.job_id)
            if fresh is None:
                raise
            callback = self.registry.find(fresh.definition)
            self._claiming.retry([job.job_id])
            return fresh, callback

    async def _execute_in_slot(self, run: Run, job: StoredJob, callback: Callback) -> None:
        """Execute once fewer than `max_concurrent_runs` do, of those with the same executor."""
        slots = self._slots[job.definition.executor]
        if run.origin is Origin.BACKFILL:
            async with slots.of_backfills, slots.of_all:
                await self._execute_if_still_ours(run, job, callback)
        else:
            async with slots.of_all:
                await self._execute_if_still_ours(run, job, callback)

    async def _execute_if_still_ours(self, run: Run, job: StoredJob, callback: Callback) -> None:
        if not self._hand.waits_no_more(run):
            return  # handed back while it waited
        if self._hand.is_cancelling(run):
            await self._recorder.record(ended(run, RunStatus.CANCELLED, "requested", self._clock.now()))
        elif not self._keeper.trusts(run.term):
            await self._recorder.record(returned(run))
        elif job.definition.executor != LOCAL:
            await self._handing.until_settled(run, job)
            self._recovery.nudge()
        elif job.definition.use_distributed_lock:
            await self._execute_job_with_lock(run, job, callback)
        else:
            await self._execute_job_direct(run, job, callback)

    async def _execute_job_with_lock(self, run: Run, job: StoredJob, callback: Callback) -> None:
        """Execute under the job's distributed lock; a lock held elsewhere means that the work is being done.

        While nobody can tell whether the lock is free the run must not execute: that is a failed attempt, and is
        tried again like any other.
        """
        if self._locks is None:
            problem = "no lock service is configured: set redis_url, or init(lock_service)"
            failure = Failure("failed", "LockUnavailable", problem)
            await self._recorder.record(failed(run, "lock_unavailable", failure, self._clock.now()))
            return
        key = job.definition.lock_key or f"job:{job.job_id}"
        self._lock_service = self._locks()
        async with RunLock(self._locks, key, job.definition.lock_ttl, run, self._logger) as lock:
            await self._execute_job_direct(run, job, callback, lock)

    async def _execute_job_direct(
        self, run: Run, job: StoredJob, callback: Callback, lock: RunLock | None = None
    ) -> None:
        """Call the callback, again after a failure up to `max_retries` times, and record how the run ended."""
        now = self._clock.now()
        begun = Begun(run, job, now, time.monotonic(), now, run.attempt + 1, run.attempt, stoppable=callback.is_async)
        begun.task = self._executing.get(id(run)) or asyncio.current_task()
        CURRENT_RUN.set(begun)
        self._hand.put(begun)
        try:
            failure = await self._attempts.until_settled(begun, callback, lock)
            # From here on it has ended: a cancel comes too late.
            begun.task = None
            status = RunStatus.SUCCEEDED if failure is None else RunStatus.FAILED
            await self._recorder.record(begun.outcome(status, failure, self._clock.now()))
        except CancelRequestedError as request:
            begun.task = None
            await self._recorder.record(begun.cancelled_on_request(str(request), self._clock.now()))
        except LockedElsewhereError:
            begun.task = None
            await self._recorder.record(begun.locked_elsewhere(self._clock.now()))
        except asyncio.CancelledError:
            self._recorder.record_soon(begun.cut_off(self._clock.now()))
            raise
        except NotLeaderError:
            self._recorder.record_soon(begun.returned())
        finally:
            self._hand.drop(begun)

    # What goes on beside.

    async def _watch_runs(self) -> None:
        """Mark what lasts as running, and show the keeper that this loop moves."""
        while True:
            self._keeper.progress()
            now = time.monotonic()
            self.counters.see_loop(now, MARK_RUNNING_AFTER_SECONDS / 2)
            before = now - MARK_RUNNING_AFTER_SECONDS
            for begun in self._hand.calling():
                if not begun.durable and begun.started_monotonic <= before:
                    begun.durable = True
                    self._recorder.record_soon(begun.lasting())
            await asyncio.sleep(MARK_RUNNING_AFTER_SECONDS / 2)

    async def _watch_cancels(self) -> None:
        await cancellation.watch(
            self._storage.requests,
            self.instance.instance_id,
            in_hand=lambda: len(self._hand) > 0,
            cancel=self._cancel,
            logger=self._logger,
        )

    def _cancel(self, run_id: UUID) -> None:
        """Somebody asked for a run to be cancelled."""
        self._hand.cancel(run_id)
        self._handing.cancel(run_id)

    async def _refresh_clock(self) -> None:
        await self._read_clock()
        release = getattr(self._lock_service, "release_abandoned", None)
        if release is not None:
            await release()

    def _recorded(self, outcomes: Sequence[Outcome]) -> None:
        """These outcomes are durable."""
        self.counters.see_outcomes(outcomes)
        self._hand.let_go(outcomes)
        self._statuses.see(outcomes)

    def _told(self, outcomes: Sequence[Outcome]) -> None:
        """These outcomes workers have recorded."""
        self.counters.see_outcomes(outcomes)
        self._statuses.see(outcomes)

    def _came_late(self, run: Run) -> None:
        self.counters.late += 1
        self._hand.lose(run)

    def _look_again(self) -> None:
        self._recovery.nudge()

    def _hand_back(self) -> None:
        """Give back what has not begun, and what waits for its next attempt."""
        self._hand.hand_back()
        self._handing.hand_back()
        self._attempts.trust_lost.set()

    # Changes from outside.

    def _leadership_changed(self, leadership: Leadership | None, reason: str) -> None:
        if leadership is None:
            self._logger.info("leading no more: %s", reason)
            self._hand_back()
        else:
            self.counters.leaderships[reason] += 1
            self._attempts.trust_lost.clear()
        self._wake.set()

    def _nudged(self, job_id: str) -> None:
        if job_id.startswith(RESIGN_REQUEST):
            leadership = self._keeper.leadership
            if leadership is not None and job_id == f"{RESIGN_REQUEST}{leadership.term}":
                self._spawn(self.resign("asked to"), "scheduler resigns")
            return
        if job_id.startswith(CANCEL_REQUEST):
            self._cancel(UUID(job_id.removeprefix(CANCEL_REQUEST)))
            return
        if job_id:
            self._known.change(job_id)
            self._claiming.retry([job_id])
            self._statuses.change(job_id)
        self._recovery.nudge()
        self._wake.set()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, or until nudged."""
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return
        else:
            await asyncio.sleep(0)
        self._wake.clear()

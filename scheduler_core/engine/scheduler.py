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
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from scheduler_core.domain.calendars import Calendar
from scheduler_core.domain.errors import (
    CalendarNotFoundError,
    CallbackNotFoundError,
    InvalidJobError,
    JobNotFoundError,
    NotLeaderError,
    SchedulerError,
)
from scheduler_core.domain.job import Delivery, JobStatus, Overlap, ScheduleJob
from scheduler_core.domain.overlap import Turn, take_turn
from scheduler_core.domain.planning import Plan, StoredJob, plan
from scheduler_core.domain.run import Failure, LoggerLike, Origin, Outcome, Run, RunContext, RunStatus
from scheduler_core.domain.trust import RedisOutage, Timing
from scheduler_core.engine import cancellation
from scheduler_core.engine.calendar_operations import CalendarOperations
from scheduler_core.engine.cancellation import CancelRequestedError
from scheduler_core.engine.clock import DatabaseClock
from scheduler_core.engine.execution import attempt
from scheduler_core.engine.leadership import Keeper
from scheduler_core.engine.locks import LockedElsewhereError, RunLock
from scheduler_core.engine.operations import Operations
from scheduler_core.engine.recorder import MAX_QUEUED, Recorder
from scheduler_core.engine.recovery import Recovery
from scheduler_core.engine.registry import Callback, Registry
from scheduler_core.engine.retry import retry
from scheduler_core.engine.run_operations import RunOperations
from scheduler_core.engine.supervision import keep_going
from scheduler_core.ports import CANCEL_REQUEST, RESIGN_REQUEST, Instance, InvalidRow, Leadership, Locks, Storage

CLAIM_AHEAD_SECONDS = 0.05
"""What is due within this is claimed already and started by a timer: lateness then owes nothing to a claim."""

CLAIM_EVERY_SECONDS = 0.02
"""Less than the above, so that evenly spread fires are claimed some at a time and none late."""

CLAIM_LIMIT = 2_000
MAX_IN_HAND = 20_000
"""Claimed runs that have not ended; beyond that the rest waits in Postgres, where it is safe."""

IDLE_SECONDS = 1.0
MARK_RUNNING_AFTER_SECONDS = 0.25
MAINTENANCE_SECONDS = 3600.0
MAINTENANCE_DELAY_SECONDS = 10.0
KNOWN_JOBS = 100_000
CLOCK_READINGS = 3

BACKFILLS_IN_HAND = 50
"""Backfilled runs of one job, beyond which the rest waits in Postgres."""

STATUS_CHUNK = 1_000
STATUS_EVERY_SECONDS = 1.0


@dataclass(slots=True)
class Begun:
    """A run whose callback is being called here, or waits to be called again."""

    run: Run
    job: StoredJob
    started_at: datetime
    started_monotonic: float
    attempt_started_at: datetime
    number: int
    """Of the attempt that is being made, or was made last."""
    ended_attempts: int
    next_attempt_at: datetime | None = None
    """Set between two attempts: then nothing of the user's is executing."""
    calling: bool = False
    """Whether something of the user's is executing."""
    durable: bool = False
    still_owner: bool = True
    task: asyncio.Task[Any] | None = None
    """What executes the run; None once it has ended, and nothing can be cancelled any more."""
    stoppable: bool = True
    """Whether the callback is a coroutine: a thread can't be stopped."""
    cancel_requested: bool = False


@dataclass(slots=True)
class Lane:
    """The runs of one job that must not overlap: one at a time, in order."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    holder: Origin | None = None
    """Why the run exists that has the turn."""
    backfill: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One backfilled run at a time asks for the turn, so that what the schedule fires waits for one at most."""
    backfills: int = 0


class BaseScheduler:
    """One replica's scheduler. Usable many times in one process; `SchedulerService` is one of them.

    Parameters: storage, where jobs and runs live; instance, this process; timing, the election's; locks,
    gives the lock service of jobs with `use_distributed_lock`; default_timezone, for jobs without one;
    max_concurrent_runs, callbacks that execute at once; drain_timeout_seconds, how long a stop waits for them.
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
        logger: LoggerLike | None = None,
    ) -> None:
        self.instance = instance
        self.default_timezone = default_timezone
        self.registry = Registry(allowed_callbacks)
        self.operations = Operations(storage, instance.instance_id)
        self.calendar_operations = CalendarOperations(storage.calendars, instance.instance_id)
        self.run_operations = RunOperations(storage, instance.instance_id, history_days=history_days)
        self._storage = storage
        self._timing = timing
        self._locks = locks
        self._drain_timeout_seconds = drain_timeout_seconds
        self._redis_outage = redis_outage
        self._max_concurrent_runs = max_concurrent_runs
        self._logger: LoggerLike = logger or logging.getLogger("scheduler_core")

        self._declared: dict[str, ScheduleJob] = {}
        self._declared_calendars: dict[str, Calendar] = {}
        self._calendars_revision = ""
        self._statuses: dict[str, JobStatus] = {}
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
                await self._declare(list(self._declared.values()))
                await self._storage.runs.warm_up()
                self._calendars_revision = await self._storage.calendars.revision()
                # A takeover then need not read the definitions first; each plan compares their versions.
                await self._load(list(self._declared)[:STATUS_CHUNK])
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
                    ("scheduler statuses", self._refresh_statuses),
                    ("scheduler cancels", self._watch_cancels),
                )
            ]
            self._started = True

    def _prepare(self) -> None:
        """What belongs to one start: event loops, threads and the runs in hand."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._stopping = False
        self._clock = DatabaseClock()
        self._wake = asyncio.Event()
        self._trust_lost = asyncio.Event()
        self._stale: set[str] = set()
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._known: OrderedDict[str, StoredJob] = OrderedDict()
        self._uncallable: set[str] = set()
        self._unreadable: dict[str, int] = {}
        self._without_calendar: set[str] = set()
        self._timers: dict[UUID, tuple[asyncio.TimerHandle, Run]] = {}
        self._waiting: dict[UUID, Run] = {}
        self._begun: dict[UUID, Begun] = {}
        # From the claim or the adoption until it is durable that the run has ended or gone back.
        self._in_hand: set[UUID] = set()
        self._cancelling: set[UUID] = set()
        self._backfills: dict[UUID, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes: dict[str, Lane] = {}
        self._slots = asyncio.Semaphore(self._max_concurrent_runs)
        # Where runs of one job may overlap, a backfill leaves half of the slots to what is due.
        self._backfill_slots = asyncio.Semaphore(max(1, self._max_concurrent_runs // 2))
        self._threads = ThreadPoolExecutor(self._max_concurrent_runs, thread_name_prefix="scheduler-job")
        self._dirty: set[str] = set()
        self._lock_service: Locks | None = None
        self._recorder = Recorder(
            self._storage.runs,
            self.instance.instance_id,
            on_late=self._lost_ownership,
            on_recorded=self._let_go,
            logger=self._logger,
        )
        self._recovery = Recovery(
            self._storage.runs,
            self.instance.instance_id,
            ttl_seconds=self._timing.ttl_seconds,
            mine=lambda: list(self._in_hand),
            callables=self.registry.references,
            full=self._full_of_backfills,
            take=lambda run: self._arrange(run, in_order=True),
            hand_over=self._hand_over,
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
            begun=lambda: [_lasts(begun) for begun in list(self._begun.values()) if begun.calling],
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
            await self._drain()
            for task in self._owned_tasks:
                task.cancel()
            await asyncio.gather(*self._owned_tasks, return_exceptions=True)
            await self._recorder.stop(timeout_seconds=5.0)
            await self._keeper.stop()
            self._threads.shutdown(wait=False, cancel_futures=True)
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
        executing = {task for task in self._tasks if not task.done()}
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
        if self._started:
            await self._declare(jobs)
        else:
            self._keep_for_start(jobs)
        for job in jobs:
            self._declared[job.job_id] = job
            self._statuses.setdefault(job.job_id, _initial_status(job))

    def _keep_for_start(self, jobs: Sequence[ScheduleJob]) -> None:
        kinds = {job_id: job.schedule_type for job_id, job in self._declared.items()}
        for job_id, count in Counter(job.job_id for job in jobs).items():
            if count > 1:
                raise InvalidJobError(
                    f"job_id {job_id!r} stands twice among the jobs to add: give one of them another id"
                )
        for job in jobs:
            if kinds.get(job.job_id, job.schedule_type) != job.schedule_type:
                raise InvalidJobError(
                    f"job_id {job.job_id!r} was added before with schedule_type {kinds[job.job_id]!s}, now with "
                    f"{job.schedule_type!s}: give one of them another id, or remove the first one before"
                )

    async def _declare(self, jobs: Sequence[ScheduleJob]) -> None:
        definitions = [job.definition(self.default_timezone) for job in jobs]
        for definition in definitions:
            self.operations.check_declaration(definition)
        for job in jobs:
            self.registry.bind(job.job_id, job.callback)
        if definitions:
            await self.operations.declare(definitions)
            await self._storage.jobs.announce(self.instance.instance_id, self.registry.references())
            self._uncallable.difference_update(definition.job_id for definition in definitions)
            for job in jobs:
                self._statuses.setdefault(job.job_id, _initial_status(job))
            await self._refresh([definition.job_id for definition in definitions[:STATUS_CHUNK]])
            self._wake.set()

    async def remove_job(self, job_id: str) -> None:
        """Remove a job; its history stays. Raises JobNotFoundError."""
        if self._started:
            await self.operations.remove(job_id)
        elif job_id not in self._declared:
            raise JobNotFoundError(f"there is no job {job_id!r} among those added so far")
        self._declared.pop(job_id, None)
        self._statuses.pop(job_id, None)
        self.registry.unbind(job_id)

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
        return dict(self._statuses)

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
                recovering.cancel()
                await asyncio.gather(recovering, return_exceptions=True)

    def _leads(self, leadership: Leadership) -> bool:
        return not self._stopping and self._keeper.leadership == leadership

    async def _lead(self, leadership: Leadership) -> None:
        self._uncallable.clear()
        # Not in the first moments of a term: those belong to what is due.
        maintained_at = time.monotonic() - MAINTENANCE_SECONDS + MAINTENANCE_DELAY_SECONDS
        while self._leads(leadership):
            try:
                if time.monotonic() - maintained_at > MAINTENANCE_SECONDS:
                    maintained_at = time.monotonic()
                    self._spawn(self._storage.maintain(), "scheduler maintenance")
                pause = await self._claim_due(leadership)
            except NotLeaderError as error:
                self._logger.warning("%s", error)
                # The keeper finds the same at its next beat; claim nothing until it has.
                await self._sleep(self._timing.renew_every_seconds)
                continue
            except SchedulerError as error:
                self._logger.warning("claiming pauses: %s", error)
                await self._sleep(0.05)
                continue
            await self._sleep(pause)

    async def _claim_due(self, leadership: Leadership) -> float:
        """Claim what is due; returns the seconds until there may be more."""
        room = min(CLAIM_LIMIT, MAX_IN_HAND - len(self._in_hand))
        if room <= 0 or self._recorder.queued > MAX_QUEUED // 2:
            return CLAIM_EVERY_SECONDS
        sent_at = time.monotonic()
        due = await self._storage.runs.due(
            ahead_seconds=CLAIM_AHEAD_SECONDS,
            limit=room,
            excluding=[*self._uncallable, *self._unreadable],
        )
        self._clock.read(due.now, sent_at, time.monotonic())
        if due.calendars_revision != self._calendars_revision:
            self._forget_calendars(due.calendars_revision)
        coming = [due.next_due_at]
        if due.jobs:
            jobs = await self._look_up([(job.job_id, job.version, job.next_run) for job in due.jobs])
            plans = [p for p in (self._calculate_next_run(job, due.now) for job in jobs) if _accounts(p)]
            await self._claim(leadership, plans)
            # The answer above was given before these cursors moved.
            coming += [p.next_due_at for p in plans]
        if len(due.jobs) >= room:
            return 0.0
        next_due_at = min((instant for instant in coming if instant is not None), default=None)
        if next_due_at is None:
            return IDLE_SECONDS
        until = self._clock.monotonic_at(next_due_at) - time.monotonic()
        since_last = time.monotonic() - sent_at
        if due.next_due_at is not None and due.next_due_at == next_due_at and until <= CLAIM_AHEAD_SECONDS:
            # Only an at_most_once job is left alone so close to its instant: be there exactly then.
            return max(0.0, until)
        return max(CLAIM_EVERY_SECONDS - since_last, min(until - CLAIM_AHEAD_SECONDS, IDLE_SECONDS))

    def _calculate_next_run(self, job: StoredJob, now: datetime) -> Plan:
        """Decide which occurrences fire now and where the cursor goes: `domain.planning`, with this job's ahead."""
        ahead = 0.0 if job.definition.delivery == Delivery.AT_MOST_ONCE else CLAIM_AHEAD_SECONDS
        if job.missing_calendars and job.job_id not in self._without_calendar:
            self._without_calendar.add(job.job_id)
            self._logger.error(
                "job %r waits: its calendars %s are missing or can't be read; `scheduler calendars add` creates one",
                job.job_id,
                ", ".join(map(repr, job.missing_calendars)),
            )
        return plan(job, now, timedelta(seconds=ahead))

    def _forget_calendars(self, revision: str) -> None:
        """A calendar has changed: jobs that name any are read again, before anything of theirs is planned."""
        self._calendars_revision = revision
        self._without_calendar.clear()
        for job_id in [job_id for job_id, job in self._known.items() if job.definition.calendars]:
            del self._known[job_id]

    async def _claim(self, leadership: Leadership, plans: Sequence[Plan]) -> None:
        callable_here: list[Plan] = []
        uncallable: list[Plan] = []
        for made in plans:
            (callable_here if self.registry.can_call(made.job.definition) else uncallable).append(made)
        if callable_here:
            await self._claim_and_arrange(leadership, callable_here)
        if uncallable:
            await self._claim_uncallable(leadership, uncallable)

    async def _claim_and_arrange(self, leadership: Leadership, plans: Sequence[Plan]) -> None:
        claimed = await self._storage.runs.claim(leadership, plans, uncallable=False)
        expected = 0
        fires: dict[str, int] = {}
        for made in plans:
            job_id = made.job.job_id
            fires[job_id] = len(made.fires)
            if job_id in claimed.moved_job_ids:
                expected += len(made.fires)
            else:
                # An operator was faster: look at the job again.
                self._known.pop(job_id, None)
        for run in claimed.runs:
            self._arrange(run, in_order=fires[run.job_id] > 1)
        if expected > len(claimed.runs):
            had_one = expected - len(claimed.runs)
            self._logger.warning("%d occurrences had a run already; nothing fires twice", had_one)

    async def _claim_uncallable(self, leadership: Leadership, plans: Sequence[Plan]) -> None:
        """Account for what nobody here can call: the runs wait, visibly, for a replica that can."""
        await self._storage.runs.claim(leadership, plans, uncallable=True)
        for made in plans:
            definition = made.job.definition
            self._uncallable.add(definition.job_id)
            self._logger.error("job %r waits: nobody here can call %s", definition.job_id, definition.callback)
        self._recovery.nudge()

    def _hand_over(self, heir: str) -> None:
        """A run waits for a callback that this replica lacks and the heir has."""
        self._logger.info("replica %s can call what this one can't: handing over", heir)
        self._spawn(self.resign("handed over for a callback", heir=heir), "scheduler hands over")

    async def _look_up(self, due: Sequence[tuple[str, int, datetime]]) -> list[StoredJob]:
        """The due jobs with their cursors; definitions come from memory unless their version has moved."""
        missing = [
            job_id for job_id, version, _ in due if (k := self._known.get(job_id)) is None or k.version != version
        ]
        if missing:
            await self._load(missing)
        jobs: list[StoredJob] = []
        for job_id, version, next_run in due:
            known = self._known.get(job_id)
            if known is not None and known.version == version:
                jobs.append(_at(known, next_run))
        return jobs

    async def _load(self, job_ids: Sequence[str]) -> None:
        revision = None
        while revision != self._calendars_revision:
            # A calendar that changes while its jobs are under way must not be remembered as it was.
            revision = self._calendars_revision
            loaded = await self._storage.jobs.load(job_ids)
        found = {job.job_id for job in loaded}
        for gone in set(job_ids) - found:
            self._known.pop(gone, None)
        for job in loaded:
            if isinstance(job, InvalidRow):
                self._known.pop(job.job_id, None)
                if self._unreadable.get(job.job_id) != job.version:
                    self._unreadable[job.job_id] = job.version
                    self._logger.error(
                        "the row of job %r can't be read and is left alone until it changes: %s",
                        job.job_id,
                        job.problem,
                    )
            else:
                self._unreadable.pop(job.job_id, None)
                self._known[job.job_id] = job
                self._known.move_to_end(job.job_id)
        while len(self._known) > KNOWN_JOBS:
            self._known.popitem(last=False)

    # From a claimed run to its callback.

    def _arrange(self, run: Run, *, in_order: bool) -> None:
        """Take a run in hand and set a timer to its instant."""
        if run.run_id not in self._in_hand:
            self._in_hand.add(run.run_id)
            if run.origin is Origin.BACKFILL:
                self._backfills[run.run_id] = run.job_id
            self._set_timer(run, in_order)

    def _full_of_backfills(self) -> list[str]:
        return [job_id for job_id, count in Counter(self._backfills.values()).items() if count >= BACKFILLS_IN_HAND]

    def _set_timer(self, run: Run, in_order: bool) -> None:
        instant = max(run.due_at, run.next_attempt_at or run.due_at)
        delay = self._clock.monotonic_at(instant) - time.monotonic()
        handle = self._loop.call_later(max(delay, 0.0), self._begin, run, in_order, instant)
        self._timers[run.run_id] = (handle, run)

    def _begin(self, run: Run, in_order: bool, instant: datetime) -> None:
        if self._clock.now() < instant:
            # Timers count in whole milliseconds and may come early; a run may not.
            self._set_timer(run, in_order)
            return
        self._timers.pop(run.run_id, None)
        if not self._keeper.trusts(run.term):
            # Not ours to start any more: handed back, if it still can be, and otherwise left to recovery.
            self._recorder.record_soon(_returned(run))
            return
        self._waiting[run.run_id] = run
        self._spawn(self._execute_job(run, in_order), f"run {run.job_id}")

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.ensure_future(work)
        if isinstance(task, asyncio.Task):
            task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.error("%s failed inside the scheduler: %r", task.get_name(), error)

    async def _execute_job(self, run: Run, in_order: bool = False) -> None:
        """Decide, at the instant of starting, whether the run starts; then execute it."""
        try:
            job = await self._job_of(run)
            if job is None:
                await self._recorder.record(_ended(run, RunStatus.SKIPPED, "removed", self._clock.now()))
                return
            if run.origin is Origin.SCHEDULE and run.attempt == 0 and job.is_paused(self._clock.now()):
                await self._recorder.record(_ended(run, RunStatus.SKIPPED, "paused", self._clock.now()))
                return
            try:
                callback = self.registry.find(job.definition)
            except CallbackNotFoundError as error:
                self._logger.error("run %s waits: %s", run.idempotency_key, error)
                await self._recorder.record(_returned(run, "no_callback"))
                return
            async with AsyncExitStack() as stack:
                if not await self._take_turn(run, job, in_order, stack):
                    return
                if run.origin is Origin.BACKFILL:
                    await stack.enter_async_context(self._backfill_slots)
                await stack.enter_async_context(self._slots)
                if not self._waits_no_more(run):
                    return  # handed back while it waited
                if run.run_id in self._cancelling:
                    await self._recorder.record(_ended(run, RunStatus.CANCELLED, "requested", self._clock.now()))
                    return
                if not self._keeper.trusts(run.term):
                    await self._recorder.record(_returned(run))
                    return
                if job.definition.use_distributed_lock:
                    await self._execute_job_with_lock(run, job, callback)
                else:
                    await self._execute_job_direct(run, job, callback)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not hang for it
            # Ours, not the callback's: it ends this run and no other.
            self._logger.error("run %s failed inside the scheduler: %r", run.idempotency_key, error)
            now = self._clock.now()
            failure = Failure("failed", type(error).__name__, f"inside the scheduler: {error}")
            await self._recorder.record(
                Outcome(run, RunStatus.FAILED, run.attempt + 1, "internal_error", now, now, failure=failure)
            )
        finally:
            self._waits_no_more(run)

    def _waits_no_more(self, run: Run) -> bool:
        """Take a run from those that wait; False if it is not there, or there anew after it was handed back."""
        if self._waiting.get(run.run_id) is not run:
            return False
        del self._waiting[run.run_id]
        return True

    async def _job_of(self, run: Run) -> StoredJob | None:
        loading = self._loading.get(run.job_id)
        if loading is None and (run.job_id not in self._known or run.job_id in self._stale):
            self._stale.discard(run.job_id)
            loading = asyncio.ensure_future(self._load([run.job_id]))
            self._loading[run.job_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(run.job_id, None))
        if loading is not None:
            # One load for all who wait for it, and they go on in the order in which they came.
            await asyncio.shield(loading)
        return self._known.get(run.job_id)

    async def _take_turn(self, run: Run, job: StoredJob, in_order: bool, stack: AsyncExitStack) -> bool:
        """Apply the overlap policy; True if the run may go on now."""
        overlap = job.definition.overlap
        if overlap == Overlap.ALLOW:
            return True
        lane = self._lanes.setdefault(run.job_id, Lane())
        if run.origin is Origin.BACKFILL:
            lane.backfills += 1
            stack.callback(self._leave_backfills, run.job_id, lane)
            await stack.enter_async_context(lane.backfill)
        await self._recovery.surveyed.wait()
        # Nobody wants a backfill to swallow what is due meanwhile.
        in_order = in_order or (lane.holder is Origin.BACKFILL and lane.waiting == 0)
        busy = lane.turn.locked() or self._recovery.is_running_elsewhere(run.job_id)
        turn = take_turn(overlap, busy=busy, in_order=in_order, waiting=lane.waiting)
        if turn.skips:
            await self._recorder.record(_ended(run, RunStatus.SKIPPED, turn.value, self._clock.now()))
            return False
        if turn is Turn.WAIT and run.attempt == 0:
            await self._recorder.record(Outcome(run, RunStatus.QUEUED, run.attempt))
        lane.waiting += 1
        try:
            await lane.turn.acquire()
        finally:
            lane.waiting -= 1
        lane.holder = run.origin
        stack.callback(self._leave_lane, run.job_id, lane)
        while self._recovery.is_running_elsewhere(run.job_id) and self._keeper.trusts(run.term):
            await self._recovery.next_survey()
        return True

    def _leave_lane(self, job_id: str, lane: Lane) -> None:
        lane.holder = None
        lane.turn.release()
        self._clear_lane(job_id, lane)

    def _leave_backfills(self, job_id: str, lane: Lane) -> None:
        lane.backfills -= 1
        self._clear_lane(job_id, lane)

    def _clear_lane(self, job_id: str, lane: Lane) -> None:
        if lane.waiting == lane.backfills == 0 and not lane.turn.locked():
            self._lanes.pop(job_id, None)

    async def _execute_job_with_lock(self, run: Run, job: StoredJob, callback: Callback) -> None:
        """Execute under the job's distributed lock; a lock held elsewhere means that the work is being done.

        While nobody can tell whether the lock is free the run must not execute: that is a failed attempt, and is
        tried again like any other.
        """
        if self._locks is None:
            await self._fail_to_lock(run, "no lock service is configured: set redis_url, or init(lock_service)")
            return
        key = job.definition.lock_key or f"job:{job.job_id}"
        self._lock_service = self._locks()
        async with RunLock(self._locks, key, job.definition.lock_ttl, run, self._logger) as lock:
            await self._execute_job_direct(run, job, callback, lock)

    async def _fail_to_lock(self, run: Run, problem: str) -> None:
        """Nothing that another attempt could mend: the run says why."""
        now = self._clock.now()
        failure = Failure("failed", "LockUnavailable", problem)
        await self._recorder.record(
            Outcome(run, RunStatus.FAILED, run.attempt + 1, "lock_unavailable", now, now, failure=failure)
        )

    async def _execute_job_direct(
        self, run: Run, job: StoredJob, callback: Callback, lock: RunLock | None = None
    ) -> None:
        """Call the callback, again after a failure up to `max_retries` times, and record how the run ended."""
        now = self._clock.now()
        begun = Begun(run, job, now, time.monotonic(), now, run.attempt + 1, run.attempt, stoppable=callback.is_async)
        begun.task = asyncio.current_task()
        self._begun[run.run_id] = begun
        try:
            failure = await self._attempt_until_settled(begun, callback, lock)
            # From here on it has ended: a cancel comes too late.
            begun.task = None
            status = RunStatus.SUCCEEDED if failure is None else RunStatus.FAILED
            await self._recorder.record(self._outcome(begun, status, failure))
        except CancelRequestedError as ended:
            begun.task = None
            await self._recorder.record(self._cancelled_on_request(begun, str(ended)))
        except LockedElsewhereError:
            begun.task = None
            skipped = replace(run, attempt=begun.ended_attempts)
            await self._recorder.record(_ended(skipped, RunStatus.SKIPPED, "locked", self._clock.now()))
        except asyncio.CancelledError:
            self._recorder.record_soon(self._cancelled(begun))
            raise
        except NotLeaderError:
            self._recorder.record_soon(
                replace(_returned(run), attempt=begun.ended_attempts, next_attempt_at=begun.next_attempt_at)
            )
        finally:
            del self._begun[run.run_id]

    async def _attempt_until_settled(self, begun: Begun, callback: Callback, lock: RunLock | None) -> Failure | None:
        definition = begun.job.definition

        async def again(number: int) -> Failure | None:
            begun.number = number
            failure = await self._attempt(begun, callback, lock)
            if begun.cancel_requested and begun.calling:
                ending = "returned" if failure is None else f"ended with {failure.summary}"
                raise CancelRequestedError(f"the callback was not stopped, and {ending}")
            return failure

        failure = await again(begun.number)
        if failure is None or definition.max_retries + 1 <= begun.number:
            return failure

        async def before_wait(_number: int, failed: Failure, delay_seconds: float) -> None:
            begun.calling = False
            begun.ended_attempts = begun.number
            begun.next_attempt_at = self._clock.now() + timedelta(seconds=delay_seconds)
            await self._recorder.record_durably(
                replace(self._outcome(begun, RunStatus.RETRYING, failed), next_attempt_at=begun.next_attempt_at)
            )
            begun.durable = False

        async def wait(delay_seconds: float) -> None:
            # A run that waits is in nobody's way: it gives its slot back.
            self._slots.release()
            try:
                await self._wait_for_retry(begun.run, delay_seconds)
            finally:
                await self._slots.acquire()

        return await retry(definition, failure, begun.number, again=again, before_wait=before_wait, sleep=wait)

    async def _wait_for_retry(self, run: Run, delay_seconds: float) -> None:
        """Wait, unless leadership is lost: then the successor makes the next attempt, at its time."""
        try:
            async with asyncio.timeout(delay_seconds):
                await self._trust_lost.wait()
        except TimeoutError:
            if self._keeper.trusts(run.term):
                return
        raise NotLeaderError("this replica leads no more; the successor makes the next attempt")

    async def _attempt(self, begun: Begun, callback: Callback, lock: RunLock | None) -> Failure | None:
        definition, run = begun.job.definition, begun.run
        begun.attempt_started_at = self._clock.now()
        begun.started_monotonic = time.monotonic()
        if lock is not None:
            if (failure := await lock.take()) is not None:
                return failure
            if not self._keeper.trusts(run.term):
                raise NotLeaderError("leadership ended while the job's lock was taken: the run goes back")
        if definition.delivery == Delivery.AT_MOST_ONCE:
            started = await self._storage.runs.start(run, self.instance.instance_id, begun.attempt_started_at)
            if not started or not self._keeper.trusts(run.term):
                raise NotLeaderError("the run was marked as started and is not started: it goes back")
            begun.durable = True
        if begun.cancel_requested:
            raise CancelRequestedError
        begun.next_attempt_at = None
        begun.calling = True
        timeout = definition.timeout
        context = RunContext(
            run_id=run.run_id,
            job_id=run.job_id,
            scheduled_for=run.scheduled_for,
            attempt=begun.number,
            term=run.term,
            idempotency_key=run.idempotency_key,
            deadline=begun.attempt_started_at + timedelta(seconds=timeout) if timeout else None,
            logger=self._logger,
            _still_owner=lambda: begun.still_owner and self._keeper.holds_life,
            _cancel_requested=lambda: begun.cancel_requested,
        )
        return await attempt(callback, definition, context, self._threads, lambda: self._keeper.trusts(run.term))

    # What is written down.

    def _outcome(self, begun: Begun, status: RunStatus, failure: Failure | None) -> Outcome:
        return Outcome(
            run=begun.run,
            status=status,
            attempt=begun.number,
            started_at=begun.started_at,
            finished_at=self._clock.now(),
            failure=failure,
            attempt_started_at=begun.attempt_started_at,
        )

    def _cancelled(self, begun: Begun) -> Outcome:
        """What becomes of a run that a stop cut off.

        Between two attempts it simply goes on elsewhere. Inside one, that attempt is over: the run goes on
        elsewhere with the next, unless it is at_most_once and nobody can tell how far it came.
        """
        if begun.cancel_requested:
            stopped = "the callback was stopped" if begun.stoppable else "the replica stopped while its thread executed"
            return self._cancelled_on_request(begun, stopped)
        if not begun.calling:
            return replace(_returned(begun.run), attempt=begun.ended_attempts, next_attempt_at=begun.next_attempt_at)
        failure = Failure("cancelled", "CancelledError", "the replica stopped before the attempt ended")
        once = begun.job.definition.delivery == Delivery.AT_MOST_ONCE
        if once:
            return replace(self._outcome(begun, RunStatus.CANCELLED, failure), reason="stopped")
        return self._outcome(begun, RunStatus.PENDING, failure)

    def _cancelled_on_request(self, begun: Begun, ending: str) -> Outcome:
        """An operator asked for it: the run has ended, whatever its attempt would still have come to."""
        if not begun.calling:
            ended = replace(begun.run, attempt=begun.ended_attempts)
            return _ended(ended, RunStatus.CANCELLED, "requested", self._clock.now())
        failure = Failure("cancelled", "CancelledError", f"cancelled on request: {ending}")
        return replace(self._outcome(begun, RunStatus.CANCELLED, failure), reason="requested")

    def _hand_back(self) -> None:
        """Give back what has not started, so that the next leader may start it at once."""
        for handle, run in self._timers.values():
            handle.cancel()
            self._recorder.record_soon(_returned(run))
        self._timers.clear()
        for run in self._waiting.values():
            self._recorder.record_soon(_returned(run))
        self._waiting.clear()
        self._trust_lost.set()

    async def _watch_runs(self) -> None:
        """Mark what lasts as running, and show the keeper that this loop moves."""
        while True:
            self._keeper.progress()
            before = time.monotonic() - MARK_RUNNING_AFTER_SECONDS
            for begun in self._begun.values():
                if begun.calling and not begun.durable and begun.started_monotonic <= before:
                    begun.durable = True
                    self._recorder.record_soon(_lasts(begun))
            await asyncio.sleep(MARK_RUNNING_AFTER_SECONDS / 2)

    def _lost_ownership(self, run: Run) -> None:
        begun = self._begun.get(run.run_id)
        if begun is not None:
            begun.still_owner = False
        self._logger.warning(
            "run %s was taken over or cancelled meanwhile; its outcome here is kept as late", run.idempotency_key
        )

    def _cancel_run(self, run_id: UUID) -> None:
        """Somebody asked for a run to be cancelled: drop it, or stop it, if it is in hand here.

        What waits has ended in the database already. A coroutine is cancelled; a thread can't be stopped: its run
        ends as cancelled once it has returned.
        """
        if run_id not in self._in_hand or run_id in self._cancelling:
            return
        self._cancelling.add(run_id)
        timer = self._timers.pop(run_id, None)
        if timer is not None:
            handle, run = timer
            handle.cancel()
            self._recorder.record_soon(_ended(run, RunStatus.CANCELLED, "requested", self._clock.now()))
            return
        begun = self._begun.get(run_id)
        if begun is None or begun.task is None:
            return
        begun.cancel_requested = True
        if begun.stoppable or not begun.calling:
            begun.task.cancel()
        else:
            self._logger.warning("run %s is to be cancelled: its thread is waited for", begun.run.idempotency_key)

    async def _watch_cancels(self) -> None:
        await cancellation.watch(
            self._storage.requests,
            self.instance.instance_id,
            in_hand=lambda: bool(self._in_hand),
            cancel=self._cancel_run,
            logger=self._logger,
        )

    # Changes from outside.

    def _leadership_changed(self, leadership: Leadership | None, reason: str) -> None:
        if leadership is None:
            self._logger.info("leading no more: %s", reason)
            self._hand_back()
        else:
            self._trust_lost.clear()
        self._wake.set()

    def _nudged(self, job_id: str) -> None:
        if job_id == RESIGN_REQUEST:
            self._spawn(self.resign("asked to"), "scheduler resigns")
            return
        if job_id.startswith(CANCEL_REQUEST):
            self._cancel_run(UUID(job_id.removeprefix(CANCEL_REQUEST)))
            return
        if job_id:
            self._stale.add(job_id)
            self._without_calendar.discard(job_id)
            self._known.pop(job_id, None)
            self._unreadable.pop(job_id, None)
            self._uncallable.discard(job_id)
            if job_id in self._statuses:
                self._dirty.add(job_id)
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

    # Statuses.

    def _let_go(self, outcomes: Sequence[Outcome]) -> None:
        """These outcomes are durable."""
        for outcome in outcomes:
            if outcome.status.is_finished or outcome.status is RunStatus.PENDING:
                self._in_hand.discard(outcome.run.run_id)
                self._cancelling.discard(outcome.run.run_id)
                job_id = self._backfills.pop(outcome.run.run_id, None)
                if job_id is not None and job_id not in self._full_of_backfills():
                    # There is room for more of them.
                    self._recovery.nudge()
            if outcome.run.job_id in self._statuses:
                self._dirty.add(outcome.run.job_id)

    async def _refresh_statuses(self) -> None:
        """Keep the last known state of this process's jobs fresh: what changed here first, the rest in turn."""
        position = 0
        while True:
            await asyncio.sleep(0.1 if self._dirty else STATUS_EVERY_SECONDS)
            ids = list(self._dirty)[:STATUS_CHUNK]
            self._dirty.difference_update(ids)
            if not ids:
                mine = list(self._statuses)
                position = 0 if position >= len(mine) else position
                ids = mine[position : position + STATUS_CHUNK]
                position += STATUS_CHUNK
            try:
                await self._read_clock()
                await self._refresh(ids)
                await self._release_abandoned_locks()
            except SchedulerError as error:
                self._logger.debug("statuses stay as they are: %s", error)

    async def _release_abandoned_locks(self) -> None:
        release = getattr(self._lock_service, "release_abandoned", None)
        if release is not None:
            await release()

    async def _refresh(self, job_ids: Sequence[str]) -> None:
        if not job_ids:
            return
        for status in await self._storage.jobs.states(job_ids):
            if status.job_id in self._statuses:
                self._statuses[status.job_id] = status


def _initial_status(job: ScheduleJob) -> JobStatus:
    return JobStatus(
        job_id=job.job_id,
        name=job.name,
        enabled=job.enabled,
        last_run=job.last_run,
        next_run=job.next_run,
        run_count=job.run_count,
        error_count=job.error_count,
        consecutive_failures=0,
        running=False,
        paused=False,
        last_status=None,
        last_error=None,
    )


def _at(job: StoredJob, next_run: datetime) -> StoredJob:
    return job if job.next_run == next_run else replace(job, next_run=next_run)


def _accounts(p: Plan) -> bool:
    return bool(p.fires or p.missed) or p.next_due_at != p.job.due_at


def _ended(run: Run, status: RunStatus, reason: str, now: datetime) -> Outcome:
    return Outcome(run, status, run.attempt, reason, finished_at=now)


def _lasts(begun: Begun) -> Outcome:
    """Its callback is being called."""
    return Outcome(
        begun.run,
        RunStatus.RUNNING,
        begun.ended_attempts,
        started_at=begun.started_at,
        attempt_started_at=begun.attempt_started_at,
    )


def _returned(run: Run, reason: str | None = None) -> Outcome:
    """Back to whoever leads next."""
    return Outcome(run, RunStatus.PENDING, run.attempt, reason, next_attempt_at=run.next_attempt_at)

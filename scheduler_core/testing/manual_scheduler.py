"""A scheduler that moves when the test says so.

    plan      `domain.planning`: misfires, catch-up, jitter, pauses, to the microsecond of the virtual clock
    execute   `engine.fire.run_executor`: turns, locks, the callback in earnest; timeouts and waits by the virtual clock
    record    in memory, as values

It is the product's own code up to the point where servers would be asked. What servers are for is not here: no
election, no failover, no claim; for those there is `scheduler drill`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from types import SimpleNamespace, TracebackType
from typing import cast

from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.errors import InvalidJobError, JobNotFoundError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.domain.jobs.status import JobStatus
from scheduler_core.domain.planning.planning import plan
from scheduler_core.domain.runs.run import LoggerLike, Run
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.operations.jobs import Operations
from scheduler_core.ports.election import Locks
from scheduler_core.ports.storage import Storage
from scheduler_core.testing.clock import VirtualClock, as_instant
from scheduler_core.testing.errors import VirtualTimeError
from scheduler_core.testing.ledger import Ledger
from scheduler_core.testing.local_locks import LocalLocks
from scheduler_core.testing.recorded import RecordedRun
from scheduler_core.testing.stage import Stage

MOST_FIRES = 100_000
PATIENCE_SECONDS = 10.0


class ManualScheduler:
    """Runs jobs in virtual time, in this process, without servers and without waiting.

    Everything happens inside the awaited methods. Work that ends at an instant ends before what is due at it begins.

    Args:
        clock: None: a new one.
        timezone: The IANA name for jobs without one; settings and the host's zone are not looked at.
        lock_service: For jobs with `use_distributed_lock`. None: one in memory.
        retry_jitter: The share of `retry_delay` by which waits vary at random: 0 here, so that tests can count on them.
        most_fires: The most runs that one call may cause.
        patience_seconds: How long, in earnest, a callback may be busy before the test is told that it hangs.
        logger: What callbacks see as `ctx.logger`. None: the logger `scheduler_core`.
    """

    def __init__(
        self,
        clock: VirtualClock | None = None,
        *,
        timezone: str = "UTC",
        lock_service: Locks | None = None,
        retry_jitter: float = 0.0,
        most_fires: int = MOST_FIRES,
        patience_seconds: float = PATIENCE_SECONDS,
        logger: LoggerLike | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self._timezone = timezone
        self._most_fires = most_fires
        self._ledger = Ledger(self.clock)
        self._callbacks = CallbackRegistry("")
        self._operations = Operations(
            _storage_of(self._ledger), "manual scheduler", Actor(Source.CODE, "manual scheduler")
        )
        self._threads = ThreadPoolExecutor(thread_name_prefix="scheduler-job")
        self._stage = Stage(
            self.clock,
            self._ledger,
            self._callbacks,
            locks=lock_service or LocalLocks(),
            threads=self._threads,
            retry_jitter=retry_jitter,
            patience_seconds=patience_seconds,
            logger=logger or logging.getLogger("scheduler_core"),
        )
        self._fired = 0
        self._at_work = False

    # Jobs.

    async def add_job(self, job: ScheduleJob) -> None:
        """Add or change a job; see `add_jobs`.

        Args:
            job: The job.

        Raises:
            InvalidJobError: The job can't be accepted.
        """
        await self.add_jobs([job])

    async def add_jobs(self, jobs: Iterable[ScheduleJob]) -> None:
        """Add or change jobs, as first stored now by the virtual clock.

        Nothing runs yet, not even what is due at this very instant: that begins with the next call that runs jobs.

        Args:
            jobs: The jobs, each with an id of its own.

        Raises:
            InvalidJobError: One of them can't be accepted, or is no `ScheduleJob`.
        """
        listed = list(jobs)
        for job in listed:
            if not isinstance(job, ScheduleJob):
                raise InvalidJobError(f"add_jobs takes ScheduleJobs, not {type(job).__name__}")
            self._callbacks.bind(job.job_id, job.callback)
        definitions = [job.definition(self._timezone) for job in listed]
        for definition in definitions:
            self._callbacks.check_arguments(definition)
        await self._operations.declare(definitions)

    async def add_calendar(self, calendar: Calendar) -> None:
        """Add or replace a calendar; before the jobs that name it.

        Args:
            calendar: The calendar.
        """
        self._ledger.add_calendar(calendar)

    async def remove_job(self, job_id: str) -> None:
        """Remove a job; its runs stay.

        Args:
            job_id: Which job.

        Raises:
            JobNotFoundError: There is no such job.
        """
        await self._operations.remove(job_id)

    async def pause(self, job_id: str, *, until: datetime | str | None = None) -> None:
        """Stop a job from firing until it is resumed, or until an instant.

        Args:
            job_id: Which job.
            until: An instant to come: an aware datetime, or an ISO string (without an offset it is UTC). None: until
                `resume`.

        Raises:
            JobNotFoundError: There is no such job.
            InvalidJobError: `until` is past.
            InvalidScheduleError: `until` is naive, or can't be read.
        """
        await self._operations.pause(job_id, until=None if until is None else as_instant(until))

    async def resume(self, job_id: str) -> None:
        """Let a paused or automatically disabled job fire again; what fell due meanwhile is counted.

        Args:
            job_id: Which job.

        Raises:
            JobNotFoundError: There is no such job.
        """
        await self._operations.resume(job_id)

    async def trigger(self, job_id: str) -> RecordedRun:
        """Run a job now, beside its schedule.

        Args:
            job_id: Which job.

        Returns:
            Its run, once that has ended or sleeps.

        Raises:
            JobNotFoundError: There is no such job.
            VirtualTimeError: A callback hangs, or asks for this itself.
        """
        run = await self._operations.trigger(job_id)
        self._fired = 0
        await self._work()
        return self._ledger.runs[run.run_id]

    # Time.

    async def advance(self, seconds: float | timedelta) -> None:
        """Move the clock on, firing what falls due on the way, each at its instant; see `advance_to`.

        Args:
            seconds: By how many seconds, or by how long.

        Raises:
            VirtualTimeError: As `advance_to`.
        """
        step = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        await self.advance_to(self.clock.now() + step)

    async def advance_to(self, instant: datetime | str) -> None:
        """Move the clock to an instant, firing what falls due on the way, each at its instant.

        What is overdue at the beginning (after `clock.set`) is planned late, by its misfire policy.

        Args:
            instant: An aware datetime, or an ISO string (without an offset it is UTC).

        Raises:
            VirtualTimeError: The instant is past; there would be more fires than `most_fires`, before any of them; a
                callback hangs, or asks for this itself.
            InvalidScheduleError: The instant is naive, or can't be read.
        """
        until = as_instant(instant)
        if until < self.clock.now():
            raise VirtualTimeError(
                f"the clock shows {self.clock.now().isoformat()} and can't advance to {until.isoformat()}: "
                "clock.set puts it back"
            )
        self._fired = 0
        # First, so that what is overdue is dropped by its policy and not counted as fires to come.
        await self._work()
        self._check_fires(until)
        while (coming := self._next_instant()) is not None and coming <= until:
            self.clock.set(max(coming, self.clock.now()))
            await self._work()
        self.clock.set(until)

    async def run_until_idle(self, *, within_seconds: float = 86_400.0) -> None:
        """Run what is due now, and let time go on until nothing executes, waits for its turn or for a retry.

        The schedule goes on with the clock: what falls due meanwhile fires as well.

        Args:
            within_seconds: The most virtual time that this may take; a day by default.

        Raises:
            VirtualTimeError: Work still goes on after `within_seconds`; there are more fires than `most_fires`; a
                callback hangs, or asks for this itself.
        """
        limit = self.clock.now() + timedelta(seconds=within_seconds)
        self._fired = 0
        await self._work()
        while self._stage.is_busy:
            coming = self._next_instant()
            if coming is None or coming > limit:
                raise VirtualTimeError(f"{self._stage.cast} still at work after {within_seconds:g} s of virtual time")
            self.clock.set(max(coming, self.clock.now()))
            await self._work()

    # What came of it.

    @property
    def runs(self) -> list[RecordedRun]:
        """Every run so far, in the order of their instants."""
        return sorted(self._ledger.runs.values(), key=lambda run: (run.scheduled_for, run.run_id))

    def runs_of(self, job_id: str) -> list[RecordedRun]:
        """The runs of one job, in the order of their instants.

        Args:
            job_id: Which job.

        Returns:
            The runs so far; none for a job that there is not.
        """
        return [run for run in self.runs if run.job_id == job_id]

    def status(self, job_id: str) -> JobStatus:
        """A job's counters and state, as `SchedulerService.get_job_status` gives them.

        Args:
            job_id: Which job.

        Returns:
            The state.

        Raises:
            JobNotFoundError: There is no such job.
        """
        status = self._ledger.status(job_id)
        if status is None:
            raise JobNotFoundError(f"there is no job {job_id!r} in this scheduler: add_job it first")
        return status

    # The end.

    async def aclose(self) -> None:
        """Cancel what still executes, and end the threads. `async with` does it."""
        self.clock.release()
        await self._stage.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """The same as `aclose` where no event loop runs any more: whoever closed it has cancelled the tasks."""
        self.clock.release()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> ManualScheduler:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # One instant.

    async def _work(self) -> None:
        """Do all that is to be done at the clock's instant."""
        if self._at_work:
            raise VirtualTimeError("a callback can't move the time that it runs in: do that from the test")
        self._at_work = True
        try:
            self.clock.attach()
            await self._stage.settle()
            while self.clock.strike() or self._plan_due() or self._begin_triggered():
                await self._stage.settle()
        finally:
            self._at_work = False

    def _plan_due(self) -> bool:
        due = self._ledger.due(self.clock.now())
        arranged: list[tuple[Run, bool]] = []
        for job in due:
            made = plan(job, self.clock.now())
            arranged += [(run, len(made.fires) > 1) for run in self._ledger.claim(made)]
        self._arrange(sorted(arranged, key=lambda item: item[0].due_at))
        return bool(due)

    def _begin_triggered(self) -> bool:
        waiting, self._ledger.triggered = self._ledger.triggered, []
        # As the leader adopts them: they wait for their turn, where the schedule's would be skipped.
        self._arrange((run, True) for run in waiting)
        return bool(waiting)

    def _arrange(self, runs: Iterable[tuple[Run, bool]]) -> None:
        for run, in_order in runs:
            self._fired += 1
            if self._fired > self._most_fires:
                raise self._too_many(self._fired)
            self._stage.arrange(run, in_order=in_order)

    def _next_instant(self) -> datetime | None:
        instants = (self.clock.next_instant(), self._ledger.next_due_at())
        return min((instant for instant in instants if instant is not None), default=None)

    def _check_fires(self, until: datetime) -> None:
        expected = sum(
            1 + job.schedule.count(job.next_run, until)
            for job in self._ledger.jobs.values()
            if job.next_run is not None and job.next_run <= until and not job.is_paused(until)
        )
        if expected > self._most_fires:
            raise self._too_many(expected)

    def _too_many(self, count: int) -> VirtualTimeError:
        return VirtualTimeError(
            f"this would fire {count:,} times, and at most {self._most_fires:,} are allowed: advance less, raise "
            "most_fires, or clock.set to skip the time as an outage would"
        )


def _storage_of(ledger: Ledger) -> Storage:
    """As much of a storage as the operators' verbs use."""
    calendars = SimpleNamespace(load=ledger.load_calendars)
    return cast("Storage", SimpleNamespace(jobs=ledger, runs=ledger, calendars=calendars))

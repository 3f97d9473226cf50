"""Claiming: what is due → plan → one fenced statement that moves the cursors and inserts the runs.

Claimed runs are arranged, each for its own instant. What nobody here can call is accounted for all the same, and
waits, visibly, for a replica that can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from scheduler_core.domain.errors import NotLeaderError, SchedulerError, SchemaError, ServerUnreachableError
from scheduler_core.domain.jobs.job import Delivery
from scheduler_core.domain.planning.planning import Plan, StoredJob, plan
from scheduler_core.domain.planning.watermark import Watermark
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.domain.runs.ticket import OFFERED
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.clock_guard import ClockGuard
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.job_cache import JobCache
from scheduler_core.engine.fire.offering import Offering
from scheduler_core.engine.fire.recorder import MAX_QUEUED, Recorder
from scheduler_core.engine.fire.start_timers import StartTimers
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import Claimed, DueJob, InvalidRow, Runs
from scheduler_core.runtime.task_ends import end_tasks

CLAIM_AHEAD_SECONDS = 0.05
"""What is due within this is claimed already and started by a timer: lateness then owes nothing to a claim."""

CLAIM_AHEAD = timedelta(seconds=CLAIM_AHEAD_SECONDS)
AT_ITS_INSTANT = timedelta(0)

CLAIM_EVERY_SECONDS = 0.025
"""Less than the above, so that evenly spread fires are claimed some at a time and none late."""

CLAIM_LIMIT = 4_000
CLAIM_BATCH = 1_000
"""Jobs of one statement. While Postgres is at one, the next is planned, and callbacks of the former execute."""

MAX_IN_FLIGHT = 20_000
"""Claimed runs that have not ended; beyond that the rest waits in Postgres, where it is safe."""

IDLE_SECONDS = 1.0

LOOK_AT_CLOCK_SECONDS = 0.5
"""While the database's clock is not to be believed: it may be right again, or somebody may agree to it."""


class Claiming:
    """One replica's claims, in one term after another.

    Parameters: jobs, the definitions that are known; timers, which each claimed run is given to; offering, which says
    what whoever executes may take at once; recovery, woken when runs wait for a callback that nobody here has.
    """

    def __init__(
        self,
        runs: Runs,
        *,
        clock_guard: ClockGuard,
        jobs: JobCache,
        callbacks: CallbackRegistry,
        in_flight: InFlightRuns,
        timers: StartTimers,
        offering: Offering,
        recorder: Recorder,
        recovery: Wake,
        counters: Counters,
        logger: LoggerLike,
    ) -> None:
        self._runs = runs
        self._clock_guard = clock_guard
        self._clock = clock_guard.clock
        self._jobs = jobs
        self._callbacks = callbacks
        self._in_flight = in_flight
        self._timers = timers
        self._offering = offering
        self._recorder = recorder
        self._recovery = recovery
        self._counters = counters
        self._logger = logger
        self._uncallable: set[str] = set()
        self._watermark = Watermark()

    def begin_term(self) -> None:
        """What could not be called in a former term is tried again."""
        self._uncallable.clear()
        self._watermark.forget()

    def changed(self) -> None:
        """Some job has changed: it may be due since before the last look."""
        self._watermark.nudge()

    def retry(self, job_ids: Sequence[str]) -> None:
        """These jobs have changed: perhaps they can be called now."""
        self._uncallable.difference_update(job_ids)
        self.changed()

    async def claim_due(self, leadership: Leadership) -> float:
        """Claim what is due; returns the seconds until there may be more. Raises NotLeaderError."""
        room = min(CLAIM_LIMIT, MAX_IN_FLIGHT - len(self._in_flight))
        if room <= 0 or self._recorder.queued > MAX_QUEUED // 2:
            return CLAIM_EVERY_SECONDS
        boottime = self._clock.machine.boottime
        sent_at, asked_at = self._clock.monotonic(), boottime()
        excluding = [*self._uncallable, *self._jobs.unreadable]
        since = self._watermark.since(sent_at, excluding)
        due = await self._runs.due(ahead_seconds=CLAIM_AHEAD_SECONDS, limit=room, excluding=excluding, since=since)
        if not self._clock_guard.admits(due.now, asked_at, boottime()):
            self._watermark.forget()
            await self._clock_guard.look(leadership)
            return 0.0 if self._clock_guard.jump is None else LOOK_AT_CLOCK_SECONDS
        self._watermark.looked(since, sent_at, self._clock.monotonic(), due.now, due.earliest_due_at)
        self._jobs.observe_calendars(due.calendars_revision)
        coming = [due.next_due_at]
        if due.jobs:
            # The answer above was given before these cursors moved.
            coming += await self._claim_in_batches(leadership, due.jobs, due.now)
        if len(due.jobs) >= room:
            return 0.0
        next_due_at = min((instant for instant in coming if instant is not None), default=None)
        if next_due_at is None:
            return IDLE_SECONDS
        until = self._clock.monotonic_at(next_due_at) - self._clock.monotonic()
        since_last = self._clock.monotonic() - sent_at
        if next_due_at == due.next_due_at and next_due_at <= due.now + CLAIM_AHEAD:
            # Within what this look claimed only an at_most_once job is left alone: be there exactly at its instant.
            return max(0.0, until)
        return max(CLAIM_EVERY_SECONDS - since_last, min(until - CLAIM_AHEAD_SECONDS, IDLE_SECONDS))

    async def _claim_in_batches(
        self, leadership: Leadership, due: Sequence[DueJob], now: datetime
    ) -> list[datetime | None]:
        """Plan and claim; while Postgres claims one batch, the next is planned and what the one after it lacks is read.

        Returns when each job is due next.
        """
        next_due_ats: list[datetime | None] = []
        claiming: asyncio.Task[None] | None = None
        try:
            async with aclosing(self._jobs.look_up(due, CLAIM_BATCH)) as batches:
                async for jobs in batches:
                    # Also a plan that moves nothing but a due_at that somebody set by hand: the job is due until that
                    # is right.
                    plans = [made for job in jobs if (made := self._plan(job, now)) is not None]
                    next_due_ats += [made.next_due_at for made in plans]
                    if claiming is not None:
                        await claiming
                    claiming = asyncio.create_task(self._claim(leadership, plans), name="scheduler claim")
                    # The statement is on its way before the next batch is planned.
                    await asyncio.sleep(0)
            if claiming is not None:
                await claiming
        finally:
            if claiming is not None:
                await end_tasks(claiming)
        return next_due_ats

    def _plan(self, job: StoredJob, now: datetime) -> Plan | None:
        try:
            return self.calculate_next_run(job, now)
        except Exception as error:  # noqa: BLE001 - a row edited by hand may hold anything; it is this job's alone
            self._quarantine(job, error)
            return None

    def calculate_next_run(self, job: StoredJob, now: datetime) -> Plan:
        """Decide which occurrences fire now and where the cursor goes: `domain.planning`, with this job's ahead."""
        ahead = AT_ITS_INSTANT if job.definition.delivery is Delivery.AT_MOST_ONCE else CLAIM_AHEAD
        if job.missing_calendars:
            self._jobs.report_missing_calendars(job)
        return plan(job, now, ahead)

    def _quarantine(self, job: StoredJob, error: Exception) -> None:
        self._jobs.quarantine(InvalidRow(job.job_id, job.version, f"{type(error).__name__}: {error}"))

    async def _claim(self, leadership: Leadership, plans: Sequence[Plan]) -> None:
        callable_here: list[Plan] = []
        uncallable: list[Plan] = []
        for made in plans:
            is_claimable = made.job.definition.executor in OFFERED or self._callbacks.can_call(made.job)
            (callable_here if is_claimable else uncallable).append(made)
        for claim, these in ((self._claim_and_arrange, callable_here), (self._claim_uncallable, uncallable)):
            if these:
                await self._claim_each_if_need_be(claim, leadership, these)

    async def _claim_each_if_need_be(
        self, claim: Callable[[Leadership, Sequence[Plan]], Awaitable[None]], leadership: Leadership, plans: list[Plan]
    ) -> None:
        """Claim these together; where Postgres refuses what they say, each alone, so that one takes no other along."""
        try:
            await claim(leadership, plans)
        except (NotLeaderError, ServerUnreachableError, SchemaError):
            raise
        except SchedulerError as error:
            if len(plans) == 1:
                self._quarantine(plans[0].job, error)
                return
            for made in plans:
                await self._claim_each_if_need_be(claim, leadership, [made])

    async def _claim_and_arrange(self, leadership: Leadership, plans: Sequence[Plan]) -> None:
        offers = await self._offering.of_plans(plans)
        sent_at = self._clock.monotonic()
        claimed: Claimed | None = None
        try:
            claimed = await self._runs.claim(leadership, plans, uncallable=False, offers=offers)
        finally:
            if offers:
                self._offering.settle(offers, claimed, plans)
        self._counters.see_claim(plans, claimed.moved_job_ids, len(claimed.runs), self._clock.monotonic() - sent_at)
        expected = 0
        in_order: set[str] = set()
        for made in plans:
            if made.job.job_id not in claimed.moved_job_ids:
                # An operator was faster: look at the job again.
                self._jobs.evict(made.job.job_id)
                continue
            expected += len(made.fires)
            if len(made.fires) > 1:
                in_order.add(made.job.job_id)
        own = [run for run in claimed.runs if run.run_id not in claimed.offered] if offers else claimed.runs
        for run in own:
            self._timers.arrange(run, in_order=run.job_id in in_order)
        if expected > len(claimed.runs):
            had_one = expected - len(claimed.runs)
            self._logger.warning("%d occurrences had a run already; nothing fires twice", had_one)

    async def _claim_uncallable(self, leadership: Leadership, plans: Sequence[Plan]) -> None:
        sent_at = self._clock.monotonic()
        claimed = await self._runs.claim(leadership, plans, uncallable=True)
        self._counters.see_claim(plans, claimed.moved_job_ids, len(claimed.runs), self._clock.monotonic() - sent_at)
        for made in plans:
            definition = made.job.definition
            self._uncallable.add(definition.job_id)
            self._logger.error("job %r waits: nobody here can call %s", definition.job_id, definition.callback)
        self._recovery.wake()

"""What becomes of runs whose owner can't finish them. Works beside leading, in bounded batches.

Not begun: adopted at once. Begun: an owner whose life witness has been gone for a TTL, without coming back, is
dead; its attempts end as `lost`, and the delivery policy says whether the run goes on. A living former leader
may finish what it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler_core.domain.alerts.alarm import FOR_A_CALLBACK, FOR_A_TIME_ZONE
from scheduler_core.domain.errors import NotLeaderError, SchedulerError
from scheduler_core.domain.planning.watermark import NUDGED_REST_PER_WORK, REST_PER_WORK, WHOLE_EVERY_SECONDS
from scheduler_core.domain.runs.run import LoggerLike, Run
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.fire.elsewhere import RunsElsewhere
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.job_cache import JobCache
from scheduler_core.engine.fire.start_timers import StartTimers
from scheduler_core.engine.supervision import keep_going
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import InvalidRun, Owner, Runs
from scheduler_core.runtime.task_ends import end_tasks

BATCH = 500
MAX_DELIVERIES = 3

DEAR_SECONDS = 0.02
"""A look that takes as long walks through more than what has not ended."""


@dataclass(frozen=True, slots=True)
class PreferredSuccessor:
    """A replica that can do what this one can't and something waits for, and why it is to lead."""

    instance_id: str
    why: str


class Recovery:
    """Recovery during one leadership after another.

    Parameters: ttl_seconds, how long an owner must have been gone, and how long a former leader may have gone on
    starting runs; in_flight, the runs that this process has; timers, which each adopted run is given to; elsewhere,
    told of what runs under other owners; jobs, that this process has read; wake, which has it look at once.
    """

    def __init__(
        self,
        runs: Runs,
        instance_id: str,
        *,
        ttl_seconds: float,
        in_flight: InFlightRuns,
        timers: StartTimers,
        elsewhere: RunsElsewhere,
        jobs: JobCache,
        wake: Wake,
        counters: Counters,
        logger: LoggerLike,
        machine: MachineClock = SYSTEM_CLOCK,
    ) -> None:
        self._runs = runs
        self._instance_id = instance_id
        self._ttl_seconds = ttl_seconds
        self._in_flight = in_flight
        self._timers = timers
        self._elsewhere = elsewhere
        self._jobs = jobs
        self._wake = wake
        self._counters = counters
        self._boottime = machine.boottime
        self._logger = logger
        self._gone_since: dict[str, float] = {}
        self._is_dear = asyncio.Event()

    async def work(self, leadership: Leadership, over: asyncio.Event) -> PreferredSuccessor | None:
        """Recover until the leadership is over.

        Returns the replica that should lead instead; None if the leadership has ended otherwise.
        """
        self._gone_since.clear()
        self._elsewhere.forget()
        marking = asyncio.create_task(
            keep_going(self._mark, "scheduler marks unfinished runs", self._logger),
            name="scheduler marks unfinished runs",
        )
        try:
            return await self._look(leadership, over)
        finally:
            await end_tasks(marking)
            self._runs.unmark_unfinished()

    async def _mark(self) -> None:
        """While looks are dear, have them begin where the unfinished runs do. Finding that costs as much as a look did,
        and rests in proportion; beside the looks, so that what was just added need not wait for it.
        """
        while True:
            await self._is_dear.wait()
            began = self._boottime()
            try:
                await self._runs.mark_unfinished()
            except SchedulerError as error:
                self._logger.debug("unfinished runs are looked for from the beginning: %s", error)
            took = self._boottime() - began
            if took < DEAR_SECONDS:
                # Nothing dead lies there any more.
                self._runs.unmark_unfinished()
                self._is_dear.clear()
            await asyncio.sleep(max(WHOLE_EVERY_SECONDS, REST_PER_WORK * took))

    async def _look(self, leadership: Leadership, over: asyncio.Event) -> PreferredSuccessor | None:
        leads_since = self._boottime()
        while not over.is_set():
            began = self._boottime()
            try:
                # Side by side: in a term's first moments runs wait for the survey.
                adopted, owners = await asyncio.gather(self._adopt(leadership), self._survey())
                reaped = await self._reap(leadership, owners)
                # A term lasts for a TTL at least: two services that can call nothing of each other's take turns.
                if self._boottime() - leads_since >= self._ttl_seconds:
                    successor = await self._find_preferred_successor()
                    if successor is not None:
                        return successor
            except NotLeaderError:
                # Whoever leads by this will find the same, and says that it is over.
                adopted = reaped = 0
            except SchedulerError as error:
                self._logger.warning("recovery pauses: %s", error)
                adopted = reaped = 0
            if adopted == BATCH or reaped:
                continue
            # Where a look is dear, because somebody's open transaction keeps what is dead in the way of it, it rests in
            # proportion, woken or not.
            took = self._boottime() - began
            if took >= DEAR_SECONDS:
                self._is_dear.set()
            await asyncio.sleep(NUDGED_REST_PER_WORK * took)
            await self._wake.sleep(max(min(1.0, self._ttl_seconds / 3), REST_PER_WORK * took))
        return None

    async def _find_preferred_successor(self) -> PreferredSuccessor | None:
        caller = await self._runs.preferred_successor(self._instance_id, self._in_flight.passed_over())
        if caller is not None:
            return PreferredSuccessor(caller, FOR_A_CALLBACK)
        zones = self._jobs.unknown_zones
        knower = await self._runs.successor_for_zones(self._instance_id, zones) if zones else None
        return None if knower is None else PreferredSuccessor(knower, FOR_A_TIME_ZONE)

    async def _adopt(self, leadership: Leadership) -> int:
        adopted = await self._runs.adopt(
            leadership,
            mine=[*self._in_flight.run_ids(), *self._in_flight.passed_over()],
            trust_seconds=self._ttl_seconds,
            limit=BATCH,
            full=self._in_flight.full_of_backfills(),
        )
        runs = [run for run in adopted if isinstance(run, Run)]
        for run in sorted(runs, key=lambda run: (run.scheduled_for, run.job_id)):
            self._timers.arrange(run, in_order=True)
        if runs:
            self._counters.adopted += len(runs)
            self._logger.info("adopted %d runs that nobody had begun", len(runs))
        for invalid in adopted:
            if isinstance(invalid, InvalidRun):
                self._leave_alone(invalid)
        return len(adopted)

    def _leave_alone(self, run: InvalidRun) -> None:
        if self._in_flight.pass_over(run.run_id):
            self._logger.error(
                "the row of run %s of job %r can't be read and is left alone until it changes: %s",
                run.run_id,
                run.job_id,
                run.problem,
            )

    async def _survey(self) -> list[Owner]:
        """Find out which runs are others', or anybody's to take."""
        sent_at = self._boottime()
        owners = await self._runs.owners(self._instance_id)
        self._elsewhere.survey((run for owner in owners for run in owner.runs), sent_at)
        return owners

    async def _reap(self, leadership: Leadership, owners: Sequence[Owner]) -> int:
        """End the attempts of owners that have been gone for a TTL."""
        now = self._boottime()
        gone = {
            owner.instance_id
            for owner in owners
            if owner.instance_id not in {None, self._instance_id} and not owner.alive
        }
        self._gone_since = {owner: self._gone_since.get(owner, now) for owner in gone}
        dead = [owner for owner, since in self._gone_since.items() if now - since >= self._ttl_seconds]
        if not dead:
            return 0
        reaped = await self._runs.reap(leadership, dead, max_deliveries=MAX_DELIVERIES, limit=BATCH)
        self._counters.attempts["lost"] += reaped
        self._logger.warning("%d attempts were lost with their owners: %s", reaped, ", ".join(sorted(dead)))
        return reaped

"""What becomes of runs whose owner can't finish them. Works beside leading, in bounded batches.

Not begun: adopted at once. Begun: an owner whose life witness has been gone for a TTL, without coming back, is
dead; its attempts end as `lost`, and the delivery policy says whether the run goes on. A living former leader
may finish what it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

from scheduler_core.domain.errors import NotLeaderError, SchedulerError
from scheduler_core.domain.run import LoggerLike, Run
from scheduler_core.engine.clock import boottime
from scheduler_core.engine.counters import Counters
from scheduler_core.ports import InvalidRun, Leadership, Owner, Runs

BATCH = 500
MAX_DELIVERIES = 3
LOOK_AGAIN_SECONDS = 10.0
MOST_PASSED_OVER = 10_000


class Recovery:
    """Recovery during one leadership after another.

    Parameters: runs, the storage; instance_id, this replica; ttl_seconds, how long an owner must have been gone,
    and how long a former leader may have gone on starting runs; mine, the runs that this process has in hand;
    callables, the callbacks that it can call; full, the jobs of which it has backfilled runs enough in hand; take,
    given each adopted run; hand_over, told of a replica that can call what a waiting run needs and this one lacks.
    """

    def __init__(
        self,
        runs: Runs,
        instance_id: str,
        *,
        ttl_seconds: float,
        mine: Callable[[], Sequence[UUID]],
        callables: Callable[[], Sequence[str]],
        full: Callable[[], Sequence[str]],
        take: Callable[[Run], None],
        hand_over: Callable[[str], None],
        counters: Counters,
        logger: LoggerLike,
    ) -> None:
        self._runs = runs
        self._instance_id = instance_id
        self._ttl_seconds = ttl_seconds
        self._mine = mine
        self._callables = callables
        self._full = full
        self._take = take
        self._hand_over = hand_over
        self._counters = counters
        self._logger = logger
        self._gone_since: dict[str, float] = {}
        self._nudged = asyncio.Event()
        self._elsewhere: frozenset[str] = frozenset()
        self._passed_over: dict[UUID, float] = {}
        """Runs whose rows can't be read, or that turned out not to be callable here: looked at again now and then."""
        self.surveyed = asyncio.Event()
        """Set once it is known, in this leadership, which jobs are still running under other owners."""

    def is_running_elsewhere(self, job_id: str) -> bool:
        """Whether a run of the job was begun by another replica and has not ended, as last surveyed."""
        return job_id in self._elsewhere

    async def next_survey(self) -> None:
        """Wait until somebody has looked again, for a second at most."""
        self.surveyed.clear()
        try:
            async with asyncio.timeout(1.0):
                await self.surveyed.wait()
        except TimeoutError:
            return

    def nudge(self) -> None:
        """Something was triggered or handed back: look now."""
        self._nudged.set()

    async def work(self, leadership: Leadership, is_current: Callable[[], bool]) -> None:
        """Recover until the leadership ends."""
        self._gone_since.clear()
        self.surveyed.clear()
        leads_since = boottime()
        while is_current():
            self._nudged.clear()
            try:
                # Side by side: in a term's first moments runs wait for the survey.
                adopted, owners = await asyncio.gather(self._adopt(leadership), self._survey())
                buried = await self._bury(leadership, owners)
                # A term lasts for a TTL at least: two services that can call nothing of each other's take turns.
                if boottime() - leads_since >= self._ttl_seconds and (heir := await self._runs.heir(self._instance_id)):
                    self._hand_over(heir)
                    leads_since = boottime()
            except NotLeaderError:
                return
            except SchedulerError as error:
                self._logger.warning("recovery pauses: %s", error)
                adopted = buried = 0
            if adopted == BATCH or buried:
                continue
            # Somebody may wait for a run elsewhere to end: then look more often.
            pause = 0.1 if self._elsewhere else min(1.0, self._ttl_seconds / 3)
            try:
                async with asyncio.timeout(pause):
                    await self._nudged.wait()
            except TimeoutError:
                continue

    async def _adopt(self, leadership: Leadership) -> int:
        now = boottime()
        passed_over = [run_id for run_id, seen_at in self._passed_over.items() if now - seen_at < LOOK_AGAIN_SECONDS]
        adopted = await self._runs.adopt(
            leadership,
            mine=[*self._mine(), *passed_over],
            callables=self._callables(),
            trust_seconds=self._ttl_seconds,
            limit=BATCH,
            full=self._full(),
        )
        runs = [run for run in adopted if isinstance(run, Run)]
        for run in sorted(runs, key=lambda run: (run.scheduled_for, run.job_id)):
            self._take(run)
        if runs:
            self._counters.adopted += len(runs)
            self._logger.info("adopted %d runs that nobody had begun", len(runs))
        for invalid in adopted:
            if isinstance(invalid, InvalidRun):
                self._leave_alone(invalid)
        return len(adopted)

    def _leave_alone(self, run: InvalidRun) -> None:
        if run.run_id not in self._passed_over:
            self._logger.error(
                "the row of run %s of job %r can't be read and is left alone until it changes: %s",
                run.run_id,
                run.job_id,
                run.problem,
            )
        self.pass_over(run.run_id)

    def pass_over(self, run_id: UUID) -> None:
        """Adopt this run no more for a while: nothing can be done with it here."""
        if len(self._passed_over) >= MOST_PASSED_OVER:
            self._passed_over.clear()
        self._passed_over[run_id] = boottime()

    async def _survey(self) -> list[Owner]:
        """Find out which jobs are running under other owners."""
        owners = [o for o in await self._runs.owners() if o.instance_id != self._instance_id]
        self._elsewhere = frozenset(job_id for owner in owners for job_id in owner.job_ids)
        self.surveyed.set()
        return owners

    async def _bury(self, leadership: Leadership, owners: Sequence[Owner]) -> int:
        """End the attempts of owners that have been gone for a TTL."""
        now = boottime()
        gone = {owner.instance_id for owner in owners if not owner.alive}
        self._gone_since = {owner: self._gone_since.get(owner, now) for owner in gone}
        dead = [owner for owner, since in self._gone_since.items() if now - since >= self._ttl_seconds]
        if not dead:
            return 0
        buried = await self._runs.bury(leadership, dead, max_deliveries=MAX_DELIVERIES, limit=BATCH)
        self._counters.attempts["lost"] += buried
        self._logger.warning("%d attempts were lost with their owners: %s", buried, ", ".join(sorted(dead)))
        return buried

"""Offering: what the leader does of a run that any replica may execute, once its turn has come.

Most runs are offered by the statement that claims them. Those that had to wait for another run of their job are
offered here, in batches; from then on they are whoever's takes them, and their turn lasts until their row has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from scheduler_core.domain.errors import NotLeaderError, SchedulerError
from scheduler_core.domain.jobs.policies import Overlap
from scheduler_core.domain.planning.planning import Plan
from scheduler_core.domain.runs.run import LoggerLike, Outcome, Run, RunStatus, handed_back, unattempted
from scheduler_core.domain.runs.ticket import OFFERED
from scheduler_core.engine.clock import Clock
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.fire.elsewhere import RunsElsewhere
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.overlap_gate import OverlapGate
from scheduler_core.engine.supervision import keep_going
from scheduler_core.ports.runs import Claimed, Offers, Runs

OFFER_AGAIN_SECONDS = (0.05, 1.0)
"""First and longest pause while Postgres can't be asked."""


@dataclass(slots=True)
class Offering:
    """Parameters: trust, without which nothing is offered; elsewhere, told of each; gate, in which some wait for their
    turn; in_flight, which each leaves.
    """

    runs: Runs
    clock: Clock
    trust: LeaderTrust
    elsewhere: RunsElsewhere
    gate: OverlapGate
    in_flight: InFlightRuns
    logger: LoggerLike
    _queue: list[tuple[Run, str, asyncio.Future[None]]] = field(default_factory=list)
    _sending: asyncio.Task[None] | None = None

    async def of_plans(self, plans: Sequence[Plan]) -> Offers:
        """How many fires of which plans may begin as soon as they are claimed.

        The turns of these are reserved, until `settle` is told what came of the claim.
        """
        # What has a limit is offered once it has its place.
        offered = [
            plan
            for plan in plans
            if plan.fires and plan.job.definition.executor in OFFERED and plan.job.definition.limit is None
        ]
        if not offered:
            return {}
        in_turn = [plan.job.job_id for plan in offered if plan.job.definition.overlap is not Overlap.ALLOW]
        await self.elsewhere.busy_among([job_id for job_id in in_turn if job_id in self.elsewhere])
        # From here to the reservation nobody comes in between. Before the first survey nobody knows what a former
        # leader has offered: then these wait for it, each in its lane.
        is_known = self.elsewhere.is_known
        waiting = {
            job_id for job_id in in_turn if not is_known or job_id in self.elsewhere or not self.gate.is_free(job_id)
        }
        self.elsewhere.reserve(job_id for job_id in in_turn if job_id not in waiting)
        return {
            plan.job.job_id: len(plan.fires) if plan.job.definition.overlap is Overlap.ALLOW else 1
            for plan in offered
            if plan.job.job_id not in waiting
        }

    def settle(self, offers: Offers, claimed: Claimed | None, plans: Sequence[Plan]) -> None:
        """What of this claim was offered has its job's turn; None: nobody knows, and the survey finds it."""
        in_turn = {plan.job.job_id for plan in plans if plan.job.definition.overlap is not Overlap.ALLOW}
        if claimed is None:
            self.elsewhere.doubt()
        else:
            for run in claimed.runs:
                if run.run_id in claimed.offered and run.job_id in in_turn:
                    self.elsewhere.hold(run)
        self.elsewhere.release(offers)

    async def offer(self, run: Run, executor: str) -> Outcome | None:
        """Let the run be taken; an outcome says what became of it instead."""
        if not self.in_flight.wait_no_more(run):
            return None  # handed back while it waited
        if self.in_flight.is_cancelling(run):
            return unattempted(run, RunStatus.CANCELLED, "requested", self.clock.now())
        if not self.trust.allows(run):
            return handed_back(run)
        self.elsewhere.hold(run, is_durable=False)
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((run, executor, sent))
        if self._sending is None or self._sending.done():
            name = "scheduler offers"
            self._sending = asyncio.create_task(keep_going(self._send, name, self.logger), name=name)
        try:
            await sent
        finally:
            self.elsewhere.hold(run)
            self.in_flight.release(run)
        return None

    async def _send(self) -> None:
        """Offer whatever waits, as long as anything does: what comes while a batch is on its way goes with the next."""
        while self._queue:
            batch, self._queue = self._queue, []
            try:
                await self._send_batch([(run, executor) for run, executor, _ in batch])
            finally:
                for _, _, sent in batch:
                    if not sent.done():
                        sent.set_result(None)

    async def _send_batch(self, offered: Sequence[tuple[Run, str]]) -> None:
        """Asked until it is answered: said twice it changes nothing. What this replica may not say any more is left
        to recovery.
        """
        pause = OFFER_AGAIN_SECONDS[0]
        while (leadership := self.trust.leadership()) is not None:
            try:
                await self.runs.offer(leadership, offered)
                return
            except NotLeaderError as error:
                self.logger.warning("%s", error)
                return
            except SchedulerError as error:
                self.logger.warning("%d runs wait to be offered: %s", len(offered), error)
                if await self.clock.wait(self.trust.lost, pause):
                    return
                pause = min(pause * 2, OFFER_AGAIN_SECONDS[1])

"""The gate before each job whose runs must not overlap: they take turns, one at a time, in order.

A job has a lane only while one of its runs executes or waits. `domain.overlap` decides what a run does that finds the
lane taken.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from scheduler_core.domain.jobs.policies import Overlap
from scheduler_core.domain.runs.overlap import Turn, take_turn
from scheduler_core.domain.runs.run import Origin, Outcome, Run, RunStatus, unattempted
from scheduler_core.engine.clock import Clock
from scheduler_core.engine.election.trust_window import TrustWindow
from scheduler_core.engine.fire.elsewhere import RunsElsewhere
from scheduler_core.engine.fire.journal import Journal


@dataclass(slots=True)
class Lane:
    """One job's lane."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    """Runs that want the turn."""
    holder: Origin | None = None
    """Why the run exists that has the turn."""
    backfill: asyncio.Lock | None = None
    """One backfilled run at a time asks for the turn, so that what the schedule fires waits for one at most."""
    backfills: int = 0


class OverlapGate:
    """The lanes of one process's jobs.

    Parameters: journal, where it is written down that a run waits; elsewhere, what runs under other owners; trust,
    without which nothing is skipped.
    """

    def __init__(self, clock: Clock, journal: Journal, elsewhere: RunsElsewhere, trust: TrustWindow) -> None:
        self._clock = clock
        self._journal = journal
        self._elsewhere = elsewhere
        self._trust = trust
        self._lanes: dict[str, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def is_free(self, job_id: str) -> bool:
        """Whether no run of the job has the turn here, or waits for it."""
        return job_id not in self._lanes

    async def enter(self, run: Run, overlap: Overlap, *, in_order: bool) -> Outcome | None:
        """Take the turn, as the overlap policy has it; an outcome says that the run is skipped instead.

        Who entered must `leave`. Parameters: in_order, whether runs of the job come one after the other, and so wait
        where others are skipped.
        """
        if overlap is Overlap.ALLOW:
            return None
        lane = self._lanes.get(run.job_id)
        if lane is None:
            lane = self._lanes[run.job_id] = Lane()
        if run.origin is not Origin.BACKFILL:
            return await self._enter(lane, run, overlap, in_order)
        lane.backfills += 1
        lane.backfill = lane.backfill or asyncio.Lock()
        entered = False
        try:
            await lane.backfill.acquire()
            try:
                skipped = await self._enter(lane, run, overlap, in_order)
                entered = skipped is None
            finally:
                if not entered:
                    lane.backfill.release()
        finally:
            if not entered:
                lane.backfills -= 1
                self._clear(run.job_id, lane)
        return skipped

    async def _enter(self, lane: Lane, run: Run, overlap: Overlap, in_order: bool) -> Outcome | None:
        entered = False
        lane.waiting += 1
        try:
            while not self._elsewhere.is_known and self._trust.allows(run):
                await self._elsewhere.next_survey()
            is_busy_elsewhere = await self._elsewhere.is_busy(run.job_id)
            # From here to the turn nobody comes in between.
            others = lane.waiting - 1
            # Nobody wants a backfill to swallow what is due meanwhile.
            in_order = in_order or (lane.holder is Origin.BACKFILL and others == 0)
            # Who leads no more skips nothing: the run goes back once it has its turn.
            busy = self._trust.allows(run) and (lane.turn.locked() or is_busy_elsewhere)
            if busy:
                turn = take_turn(overlap, busy=busy, in_order=in_order, waiting=others)
                if turn.skips:
                    return unattempted(run, RunStatus.SKIPPED, turn.value, self._clock.now())
                if turn is Turn.WAIT and run.attempt == 0:
                    await self._journal.record(Outcome(run, RunStatus.QUEUED, run.attempt))
            entered = await lane.turn.acquire()
        finally:
            lane.waiting -= 1
            if not entered:
                self._clear(run.job_id, lane)
        lane.holder = run.origin
        try:
            while self._trust.allows(run) and await self._elsewhere.is_busy(run.job_id):
                await self._elsewhere.look_again(run.job_id)
        except BaseException:
            self._pass_on(run.job_id, lane)
            raise
        return None

    def leave(self, run: Run, overlap: Overlap) -> None:
        """Let the next one go."""
        if overlap is Overlap.ALLOW:
            return
        lane = self._lanes[run.job_id]
        if run.origin is Origin.BACKFILL and lane.backfill is not None:
            lane.backfills -= 1
            lane.backfill.release()
        self._pass_on(run.job_id, lane)

    def _pass_on(self, job_id: str, lane: Lane) -> None:
        lane.holder = None
        lane.turn.release()
        self._clear(job_id, lane)

    def _clear(self, job_id: str, lane: Lane) -> None:
        if lane.waiting == lane.backfills == 0 and not lane.turn.locked():
            self._lanes.pop(job_id, None)


class OpenGate:
    """The gate of a worker: whoever gave it the attempt keeps the job's turn."""

    async def enter(self, _run: Run, _overlap: Overlap, *, in_order: bool) -> Outcome | None:
        return None

    def leave(self, _run: Run, _overlap: Overlap) -> None:
        return

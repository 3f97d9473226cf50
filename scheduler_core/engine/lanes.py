"""Lanes: the runs of one job that must not overlap take turns, one at a time, in order.

A job has a lane only while one of its runs executes or waits. `domain.overlap` decides what a run does that finds
the lane taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from scheduler_core.domain.job import Overlap
from scheduler_core.domain.overlap import Turn, take_turn
from scheduler_core.domain.run import Origin, Outcome, Run, RunStatus
from scheduler_core.engine.begun import ended
from scheduler_core.engine.clock import DatabaseClock
from scheduler_core.engine.recorder import Recorder
from scheduler_core.engine.recovery import Recovery


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


class Lanes:
    """The lanes of one replica's jobs.

    Parameters: recovery, knows what is still running under other owners; trusts, whether a term may start runs now.
    """

    def __init__(
        self, clock: DatabaseClock, recorder: Recorder, recovery: Recovery, trusts: Callable[[int], bool]
    ) -> None:
        self._clock = clock
        self._recorder = recorder
        self._recovery = recovery
        self._trusts = trusts
        self._lanes: dict[str, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    async def enter(self, run: Run, overlap: Overlap, *, in_order: bool) -> bool:
        """Take the turn, as the overlap policy has it; False if the run was skipped. What entered must `leave`."""
        if overlap is Overlap.ALLOW:
            return True
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
                entered = await self._enter(lane, run, overlap, in_order)
            finally:
                if not entered:
                    lane.backfill.release()
        finally:
            if not entered:
                lane.backfills -= 1
                self._clear(run.job_id, lane)
        return entered

    async def _enter(self, lane: Lane, run: Run, overlap: Overlap, in_order: bool) -> bool:
        entered = False
        lane.waiting += 1
        try:
            while not self._recovery.surveyed.is_set() and self._trusts(run.term):
                await self._recovery.next_survey()
            others = lane.waiting - 1
            # Nobody wants a backfill to swallow what is due meanwhile.
            in_order = in_order or (lane.holder is Origin.BACKFILL and others == 0)
            # Who leads no more skips nothing: the run goes back once it has its turn.
            busy = self._trusts(run.term) and (lane.turn.locked() or self._recovery.is_running_elsewhere(run.job_id))
            turn = take_turn(overlap, busy=busy, in_order=in_order, waiting=others) if busy else Turn.START
            if turn.skips:
                await self._recorder.record(ended(run, RunStatus.SKIPPED, turn.value, self._clock.now()))
                return False
            if turn is Turn.WAIT and run.attempt == 0:
                await self._recorder.record(Outcome(run, RunStatus.QUEUED, run.attempt))
            entered = await lane.turn.acquire()
        finally:
            lane.waiting -= 1
            if not entered:
                self._clear(run.job_id, lane)
        lane.holder = run.origin
        try:
            while self._recovery.is_running_elsewhere(run.job_id) and self._trusts(run.term):
                await self._recovery.next_survey()
        except BaseException:
            self._pass_on(run.job_id, lane)
            raise
        return True

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

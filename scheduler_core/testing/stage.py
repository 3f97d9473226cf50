"""The runs in hand: which begin, which wait for their turn, and when all that began has come to rest."""

from __future__ import annotations

import asyncio
from collections import deque
from uuid import UUID

from scheduler_core.domain.overlap import Turn, take_turn
from scheduler_core.domain.run import Outcome, Run, RunStatus
from scheduler_core.testing.clock import VirtualClock
from scheduler_core.testing.errors import VirtualTimeError
from scheduler_core.testing.ledger import Ledger
from scheduler_core.testing.performance import Performance

QUIET_PASSES = 10
"""Turns of the event loop without news until everything is taken to rest: tasks that wake one another need a few."""


class Stage:
    """Parameters: patience_seconds, in earnest, until callbacks that neither end nor sleep are called hung."""

    def __init__(
        self, clock: VirtualClock, ledger: Ledger, performance: Performance, *, patience_seconds: float
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._performance = performance
        self._patience_seconds = patience_seconds
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._lanes: dict[str, deque[Run]] = {}
        """Runs that wait for their turn. A job has an entry as long as a run of it executes."""
        self._broken: Exception | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a run executes, sleeps, or waits for a retry or its turn."""
        return bool(self._tasks)

    @property
    def cast(self) -> str:
        """Whose callbacks are at work, and the verb."""
        names = sorted({self._ledger.runs[run_id].job_id for run_id in self._tasks})
        return f"the callback of {names[0]} is" if len(names) == 1 else f"callbacks of {', '.join(names[:5])} are"

    def arrange(self, run: Run, *, in_order: bool) -> None:
        """Let a run begin, wait for its job's turn, or skip, by the overlap policy."""
        job = self._ledger.jobs.get(run.job_id)
        if job is None:
            self._skip(run, "removed")
            return
        lane = self._lanes.get(run.job_id)
        waiting = 0 if lane is None else len(lane)
        turn = take_turn(job.definition.overlap, busy=lane is not None, in_order=in_order, waiting=waiting)
        if turn.skips:
            self._skip(run, turn.value)
        elif turn is Turn.WAIT and lane is not None:
            self._ledger.record(Outcome(run, RunStatus.QUEUED, run.attempt))
            lane.append(run)
        else:
            self._lanes.setdefault(run.job_id, deque())
            self._begin(run)

    async def settle(self) -> None:
        """Wait until every run that began has ended or sleeps on the clock. Raises VirtualTimeError if one hangs."""
        seen = -1
        while seen != self._clock.changes:
            seen = self._clock.changes
            await self._until_asleep()
            for _ in range(QUIET_PASSES):
                await asyncio.sleep(0)
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken

    async def cancel(self) -> None:
        """Cancel what executes, and forget what waits."""
        for lane in self._lanes.values():
            lane.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, run: Run) -> None:
        self._tasks[run.run_id] = asyncio.create_task(self._perform(run), name=f"run {run.job_id}")

    async def _perform(self, run: Run) -> None:
        with self._clock.on_behalf_of(run.run_id):
            try:
                await self._performance.perform(run)
            except Exception as error:  # noqa: BLE001 - not the callback's: the test is told
                self._broken = error
            finally:
                del self._tasks[run.run_id]
                self._leave_lane(run.job_id)
                self._clock.note_change()

    def _leave_lane(self, job_id: str) -> None:
        lane = self._lanes[job_id]
        if lane:
            self._begin(lane.popleft())
        elif not any(self._ledger.runs[run_id].job_id == job_id for run_id in self._tasks):
            del self._lanes[job_id]

    def _skip(self, run: Run, reason: str) -> None:
        self._ledger.record(Outcome(run, RunStatus.SKIPPED, run.attempt, reason, finished_at=self._clock.now()))

    async def _until_asleep(self) -> None:
        try:
            async with asyncio.timeout(self._patience_seconds) as limit:
                while not all(self._clock.is_asleep(run_id) for run_id in self._tasks):
                    await self._clock.changed()
        except TimeoutError:
            if not limit.expired():
                raise
            raise VirtualTimeError(
                f"{self.cast} neither ended nor asleep on the virtual clock after {self._patience_seconds:g} s in "
                "earnest: await clock.sleep(...) where the callback waits, or replace what it waits for"
            ) from None

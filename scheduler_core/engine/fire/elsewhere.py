"""The unfinished runs that are not the leader's own to end, by job: begun or taken by others, or offered to any.

A survey finds them again and again, and a leader notes itself what it offers; so nobody need be asked whether a job has
none. Before a run waits, or is skipped, for one of them, Postgres is asked whether that has ended meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol
from uuid import UUID

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.runs.run import Outcome, Run
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.runs import HeldRun

LOOK_AGAIN_SECONDS = 1.0
LOOK_EVERY_SECONDS = 0.025
"""While a run waits for one of them to end."""


class Ends(Protocol):
    """Who knows which runs have ended."""

    async def unfinished_among(self, held: Sequence[HeldRun]) -> frozenset[UUID]:
        """Those of these runs that have not."""


class RunsElsewhere:
    """Parameters: runs, asked whether what is known of has ended."""

    def __init__(self, runs: Ends, machine: MachineClock = SYSTEM_CLOCK) -> None:
        self._runs = runs
        self._boottime = machine.boottime
        self._jobs: dict[str, dict[HeldRun, float]] = {}
        self._reserved: set[str] = set()
        self._ended: dict[HeldRun, float] = {}
        self._is_known = False
        self._doubted_at = 0.0
        self._surveyed = asyncio.Event()
        self._waited_for: set[str] = set()
        self._news = Wake()
        self._looking: asyncio.Task[None] | None = None

    def __contains__(self, job_id: str) -> bool:
        """Whether the job had one when anybody last looked, or is about to."""
        return job_id in self._jobs or job_id in self._reserved

    @property
    def is_known(self) -> bool:
        """Whether anybody has looked, in this leadership."""
        return self._is_known

    def doubt(self) -> None:
        """Something may have been offered, and nobody has said so: only a survey from now on can tell."""
        self._is_known, self._doubted_at = False, self._boottime()

    def forget(self) -> None:
        """A leadership begins: nobody has looked yet."""
        self._is_known = False
        self._jobs.clear()
        self._reserved.clear()
        self._ended.clear()

    def survey(self, found: Iterable[HeldRun], sent_at: float) -> None:
        """These they are, by a look that was sent then (`boottime`)."""
        jobs: dict[str, dict[HeldRun, float]] = {}
        for held in found:
            if held not in self._ended:
                jobs.setdefault(held.job_id, {})[held] = sent_at
        # What was offered since then the look need not have seen.
        for held, since in [(held, since) for job in self._jobs.values() for held, since in job.items()]:
            if since >= sent_at:
                jobs.setdefault(held.job_id, {})[held] = since
        self._jobs = jobs
        self._ended = {held: ended_at for held, ended_at in self._ended.items() if ended_at >= sent_at}
        self._is_known = sent_at >= self._doubted_at
        self._surveyed.set()

    def hold(self, run: Run, *, is_durable: bool = True) -> None:
        """This one is offered from now on; or is about to be: then no survey need have seen it."""
        self._jobs.setdefault(run.job_id, {})[_held(run)] = self._boottime() if is_durable else math.inf

    def reserve(self, job_ids: Iterable[str]) -> None:
        """A claim is about to offer a run of each of these: no other of theirs begins meanwhile."""
        self._reserved.update(job_ids)

    def release(self, job_ids: Iterable[str]) -> None:
        """That claim has been answered, one way or another, and what it offered is held."""
        self._reserved.difference_update(job_ids)

    async def is_busy(self, job_id: str) -> bool:
        """Whether a run of the job is unfinished elsewhere, as Postgres has it now."""
        return job_id in self and bool(await self.busy_among((job_id,)))

    async def busy_among(self, job_ids: Collection[str]) -> frozenset[str]:
        """The jobs of these that have an unfinished run elsewhere, as Postgres has it now.

        Where it can't be asked, as it was when anybody last looked.
        """
        held = [one for job_id in job_ids for one in self._jobs.get(job_id, ())]
        if not held:
            return frozenset(job_id for job_id in job_ids if job_id in self)
        try:
            unfinished = await self._runs.unfinished_among(held)
        except SchedulerError:
            return frozenset(job_id for job_id in job_ids if job_id in self)
        for one in held:
            if one.run_id not in unfinished:
                self._end(one)
        return frozenset(job_id for job_id in job_ids if job_id in self)

    async def look_again(self, job_id: str) -> None:
        """Wait a moment, and ask whether the job's runs have ended: all that wait ask together."""
        self._waited_for.add(job_id)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="scheduler looks for ends elsewhere")
        await asyncio.shield(self._looking)

    def outcomes_recorded(self, outcomes: Sequence[Outcome], _late: object) -> None:
        """This process has ended some of them itself."""
        for outcome in outcomes if self._jobs else ():
            if outcome.status.is_finished and outcome.run.job_id in self._jobs:
                self._end(_held(outcome.run))

    async def next_survey(self) -> None:
        """Wait until somebody has looked again, for a second at most."""
        self._surveyed.clear()
        try:
            async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                await self._surveyed.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        await self._news.sleep(LOOK_EVERY_SECONDS)
        waited_for, self._waited_for = self._waited_for, set()
        await self.busy_among(waited_for)

    def _end(self, held: HeldRun) -> None:
        job = self._jobs.get(held.job_id, {})
        if held not in job:
            return  # nothing to be kept from a survey that is on its way; and who leads no more makes none
        del job[held]
        if not job:
            del self._jobs[held.job_id]
        self._ended[held] = self._boottime()
        self._news.wake()


def _held(run: Run) -> HeldRun:
    return HeldRun(run.run_id, run.job_id, run.scheduled_for)

"""Limits that jobs share: at most so many runs of all jobs with a key may execute at once, wherever they do.

The leader admits them, in order of priority and instant, in batches; Postgres counts. A run waits here for its place,
behind its job's turn and before its slot, and never skips.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.runs.run import LoggerLike, Outcome, Run, RunStatus
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.journal import Journal
from scheduler_core.engine.supervision import keep_going
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.runs import Runs, WaitingRun

ASK_EVERY_SECONDS = 0.005
"""Between two batches, however many come."""

LOOK_EVERY_SECONDS = 0.05
"""While runs wait: others end elsewhere, and nobody says so."""

MAX_BATCH = 1_000

LIMIT_REACHED = "limit"
"""Why a queued run waits."""


class Limits(Protocol):
    """Who admits runs."""

    async def enter(self, run: Run, definition: JobDefinition) -> bool:
        """Wait until the run may execute, as far as its limit goes; False if it is not ours any more."""


@dataclass(slots=True, eq=False)
class _Entry:
    waiting: WaitingRun
    priority: int
    admitted: asyncio.Future[bool]
    is_told: bool = False


class SharedLimits:
    """Parameters: journal, where it is written down that a run waits; trust, without which nobody is admitted;
    in_flight, which knows what somebody wants cancelled.
    """

    def __init__(
        self, runs: Runs, *, journal: Journal, trust: LeaderTrust, in_flight: InFlightRuns, logger: LoggerLike
    ) -> None:
        self._runs = runs
        self._journal = journal
        self._trust = trust
        self._in_flight = in_flight
        self._logger = logger
        self._waiting: list[_Entry] = []
        self._wake = Wake()
        self._asking: asyncio.Task[None] | None = None

    async def enter(self, run: Run, definition: JobDefinition) -> bool:
        """Wait for a place. True also for one that is to be cancelled or handed back: whoever begins it sees to it."""
        limit = definition.limit
        if limit is None:
            return True
        entry = _Entry(WaitingRun(run, limit), definition.priority, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._wake.wake()
        if self._asking is None or self._asking.done():
            name = "scheduler admits runs"
            self._asking = asyncio.create_task(keep_going(self._ask, name, self._logger), name=name)
        try:
            return await entry.admitted
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def outcomes_recorded(self, outcomes: Sequence[Outcome], _late: Set[object]) -> None:
        """Some of these may have made room."""
        if self._waiting and any(outcome.status.is_finished for outcome in outcomes):
            self._wake.wake()

    async def _ask(self) -> None:
        """Ask for places as long as anybody waits for one."""
        number: int | None = None
        while self._waiting:
            try:
                number = await self._ask_once(number)
            except SchedulerError as error:
                self._logger.warning("%d runs wait to be admitted: %s", len(self._waiting), error)
                number = None
            await asyncio.sleep(ASK_EVERY_SECONDS)
            if self._waiting:
                await self._wake.sleep(LOOK_EVERY_SECONDS)

    async def _ask_once(self, number: int | None) -> int | None:
        """Returns the number under which the next batch is asked for; None where it has to be read."""
        leadership = self._trust.leadership()
        for entry in list(self._waiting):
            if leadership is None or self._in_flight.is_cancelling(entry.waiting.run):
                self._answer(entry, is_ours=True)
        if leadership is None or not self._waiting:
            return None
        batch = sorted(self._waiting, key=_order)[:MAX_BATCH]
        if number is None:
            number = await self._runs.admissions()
        answer = await self._runs.admit(leadership, number, [entry.waiting for entry in batch])
        for entry in batch:
            run = entry.waiting.run
            if run.run_id in answer.admitted:
                self._answer(entry, is_ours=True)
            elif run.run_id not in answer.mine:
                self._answer(entry, is_ours=False)
            elif not entry.is_told:
                entry.is_told = True
                await self._journal.record(Outcome(run, RunStatus.QUEUED, run.attempt, LIMIT_REACHED))
        return answer.number

    def _answer(self, entry: _Entry, *, is_ours: bool) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
        if not entry.admitted.done():
            entry.admitted.set_result(is_ours)


def _order(entry: _Entry) -> tuple[int, object, str]:
    run = entry.waiting.run
    return entry.priority, run.scheduled_for, run.job_id

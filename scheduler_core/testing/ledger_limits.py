"""Limits that jobs share, of the only process there is: counted in memory, in the order in which Postgres has them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.jobs.limit import Limit, Rate
from scheduler_core.domain.runs.run import Outcome, Run, RunStatus
from scheduler_core.testing.clock import VirtualClock


@dataclass(slots=True, eq=False)
class _Waiting:
    run: Run
    limit: Limit
    priority: int
    admitted: asyncio.Event = field(default_factory=asyncio.Event)


class LedgerLimits:
    """Who has a place, and who waits for one.

    Parameters: clock, by which rates go.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._placed: dict[UUID, str] = {}
        self._waiting: list[_Waiting] = []
        self._spent_to: dict[str, datetime] = {}

    async def enter(self, run: Run, definition: JobDefinition) -> bool:
        """Wait for a place under the job's limit."""
        limit = definition.limit
        if limit is None:
            return True
        waiting = _Waiting(run, limit, definition.priority)
        self._waiting.append(waiting)
        try:
            self._admit()
            while not waiting.admitted.is_set():
                if limit.rate is None or self._has_pace(limit.key, limit.rate):
                    await waiting.admitted.wait()
                else:
                    await self._clock.wait(waiting.admitted, self._pause_seconds(limit.key, limit.rate))
                self._admit()
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
        return True

    def outcomes_recorded(self, outcomes: Sequence[Outcome], _late: Set[UUID]) -> None:
        """Some have ended: their places are free."""
        for outcome in outcomes:
            if outcome.status.is_finished or outcome.status is RunStatus.PENDING:
                self._placed.pop(outcome.run.run_id, None)
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        placed = Counter(self._placed.values())
        for one in sorted(self._waiting, key=lambda one: (one.priority, one.run.scheduled_for, one.run.job_id)):
            key, most, rate = one.limit.key, one.limit.most, one.limit.rate
            if (most is None or placed[key] < most) and (rate is None or self._has_pace(key, rate)):
                if rate is not None:
                    self._spent_to[key] = self._spent(key) + timedelta(seconds=rate.every_seconds)
                placed[key] += 1
                self._placed[one.run.run_id] = key
                self._waiting.remove(one)
                one.admitted.set()

    def _spent(self, key: str) -> datetime:
        now = self._clock.now()
        return max(self._spent_to.get(key, now), now)

    def _pause_seconds(self, key: str, rate: Rate) -> float:
        ahead = (self._spent(key) - self._clock.now()).total_seconds() + rate.every_seconds
        return max(0.0, ahead - rate.per_seconds)

    def _has_pace(self, key: str, rate: Rate) -> bool:
        return self._pause_seconds(key, rate) <= 0

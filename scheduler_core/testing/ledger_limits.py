"""Limits that jobs share, of the only process there is: counted in memory, in the order in which Postgres has them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from uuid import UUID

from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.runs.run import Outcome, Run, RunStatus


@dataclass(slots=True, eq=False)
class _Waiting:
    run: Run
    key: str
    limit: int
    priority: int
    admitted: asyncio.Future[bool]


class LedgerLimits:
    """Who has a place, and who waits for one."""

    def __init__(self) -> None:
        self._placed: dict[UUID, str] = {}
        self._waiting: list[_Waiting] = []

    async def enter(self, run: Run, definition: JobDefinition) -> bool:
        """Wait for a place under the job's limit."""
        limit = definition.limit
        if limit is None:
            return True
        admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(run, *limit, definition.priority, admitted)
        self._waiting.append(waiting)
        self._admit()
        try:
            return await admitted
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

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
            if placed[one.key] < one.limit and not one.admitted.done():
                placed[one.key] += 1
                self._placed[one.run.run_id] = one.key
                self._waiting.remove(one)
                one.admitted.set_result(True)

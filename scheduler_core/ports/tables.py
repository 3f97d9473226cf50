"""What is asked of tables that come and go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.tables.family import TableFamily
from scheduler_core.domain.tables.steps import Planning


@dataclass(frozen=True, slots=True)
class TableWork:
    """What became of a plan: the tables that were changed, those that failed, and what went wrong, in words and as
    errors.
    """

    changed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    errors: tuple[SchedulerError, ...] = ()


class Tables(Protocol):
    """Daily tables, monthly summaries, and the scheduler's own history as the first families."""

    history: Sequence[TableFamily]

    async def today(self) -> date: ...

    async def create_history(self, today: date) -> Sequence[str]:
        """Have the history's partitions ahead, whatever stands in their way."""

    async def carry_out(self, family: TableFamily, planning: Planning) -> TableWork:
        """Carry out what is planned from what the catalog shows, each step for itself."""

    async def rehearse(self, family: TableFamily, planning: Planning) -> tuple[str, Sequence[str]]:
        """The statements of what is planned, and the problems; changes nothing."""

    async def remember(self, family: TableFamily) -> None:
        """Have the family in the database, so that its tables are missed when they run short."""

    async def findings(self, registered: Iterable[TableFamily] = ()) -> Sequence[Mapping[str, str]]:
        """What a person should look at, in the database and among the families that this process has registered."""

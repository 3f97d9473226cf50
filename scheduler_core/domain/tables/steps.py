"""A family's tables as the catalog shows them, and the steps that change them. Values only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from scheduler_core.domain.tables.family import TableFamily, last_day_of_month

TABLE_KINDS = ("table", "partitioned table")

_LEAVING = re.compile(r"scheduler: the day (\S{10}), to be dropped\Z")
_RECORD = re.compile(r"scheduler: ([0-9]+) days from (\S{10}) to (\S{10}), summed up on (\S{10})\Z")


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A relation whose name or parent has to do with a family, as the catalog shows it.

    `first` and `last` bound a partition of the family's parent, the second one not included; None elsewhere.
    """

    name: str
    schema: str
    kind: str = "table"
    is_attached: bool = False
    """A partition of the family's own parent."""
    is_elsewhere: bool = False
    """A partition of something else."""
    is_pending: bool = False
    """A DETACH CONCURRENTLY was cut off, or is under way: no row finds it any more."""
    is_default: bool = False
    first: datetime | None = None
    last: datetime | None = None
    comment: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    """Name and type, where the days are summed up one by one."""

    def holds(self, first: datetime, last: datetime) -> bool:
        """Whether the rows of this range find it."""
        if not self.is_attached or self.is_pending or self.first is None or self.last is None:
            return False
        return self.first <= first and last <= self.last


@dataclass(frozen=True, slots=True)
class Found:
    """The catalog's view of a family. `key`: what the parent `{name}` is partitioned by, None for anything else than
    the range of a single column; `kept`: days that must not go yet, and why.
    """

    tables: tuple[FoundTable, ...] = ()
    parent_kind: str | None = None
    key: str | None = None
    kept: Mapping[date, str] = field(default_factory=dict)

    @property
    def has_default(self) -> bool:
        return any(table.is_default and table.is_attached for table in self.tables)

    def named(self, family: TableFamily, name: str) -> FoundTable | None:
        """The relation of that name in the family's schema."""
        return next((t for t in self.tables if t.name == name and t.schema == family.schema), None)


@dataclass(frozen=True, slots=True)
class CreateParent:
    """Create the partitioned table that the days are attached to."""

    family: TableFamily
    table: FoundTable


@dataclass(frozen=True, slots=True)
class CreateDay:
    """Create a day's table; where the family is partitioned, attach it."""

    family: TableFamily
    table: FoundTable
    day: date


@dataclass(frozen=True, slots=True)
class AttachDay:
    """Attach a table that is there and belongs to no partitioned table. `waits_for`: what must be done before."""

    family: TableFamily
    table: FoundTable
    day: date
    waits_for: str | None = None


@dataclass(frozen=True, slots=True)
class SumUp:
    """Compute a month anew from these days."""

    family: TableFamily
    table: FoundTable
    month: date
    days: tuple[date, ...]
    sources: tuple[FoundTable, ...]
    today: date


@dataclass(frozen=True, slots=True)
class Detach:
    """Detach the partition of a day; `mode` is Postgres's word for how. `to_drop`: it goes for good."""

    family: TableFamily
    table: FoundTable
    day: date
    mode: str
    to_drop: bool
    waits_for: str | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Drop a table: of a day, or a summary."""

    family: TableFamily
    table: FoundTable
    day: date | None = None
    waits_for: str | None = None


Step = CreateParent | CreateDay | AttachDay | SumUp | Detach | Drop

CONCURRENTLY, FINALIZE, PLAIN = "CONCURRENTLY", "FINALIZE", ""


@dataclass(frozen=True, slots=True)
class TablePlan:
    """Steps in order, and what a person must see to first."""

    steps: tuple[Step, ...] = ()
    problems: tuple[str, ...] = ()

    def again(self, step: Step) -> Step | None:
        """The same step in this later plan; None if somebody has done it meanwhile."""
        return next((s for s in self.steps if type(s) is type(step) and s.table.name == step.table.name), None)


Planning = Callable[[Found], TablePlan]


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """The day's first instant and the next day's, in UTC."""
    first = datetime.combine(day, time(), UTC)
    return first, first + timedelta(days=1)


def month_bounds(month: date) -> tuple[datetime, datetime]:
    """The month's first instant and the next month's, in UTC."""
    return day_bounds(month)[0], day_bounds(last_day_of_month(month))[1]


@dataclass(frozen=True, slots=True)
class Record:
    """What a summary says of itself, in its comment: the days that it was computed from, and when."""

    count: int
    first: date
    last: date
    today: date


def leaving(day: date) -> str:
    """The comment of a partition on its way out. One that somebody else detached has none, and is left alone."""
    return f"scheduler: the day {day.isoformat()}, to be dropped"


def read_leaving(comment: str | None) -> date | None:
    """The other way; None for any other comment."""
    found = _LEAVING.match(comment or "")
    try:
        return date.fromisoformat(found[1]) if found is not None else None
    except ValueError:
        return None


def record_of(step: SumUp) -> str:
    """The comment of a summary."""
    return (
        f"scheduler: {len(step.days)} days from {step.days[0].isoformat()} to {step.days[-1].isoformat()}, "
        f"summed up on {step.today.isoformat()}"
    )


def read_record(comment: str | None) -> Record | None:
    """The other way; None for any other comment."""
    found = _RECORD.match(comment or "")
    if found is None:
        return None
    try:
        return Record(int(found[1]), *(date.fromisoformat(found[n]) for n in (2, 3, 4)))
    except ValueError:
        return None

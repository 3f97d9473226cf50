"""What is to be done about a family's tables: a pure function of what the catalog shows.

A rehearsal prints the steps, an execution carries them out, and whoever has waited for the lock plans again: one
source of truth for all three. Each step is one transaction, or one statement that must stand alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date

from scheduler_core.domain.tables.family import Summary, TableFamily, first_day_of_month
from scheduler_core.domain.tables.steps import (
    CONCURRENTLY,
    FINALIZE,
    PLAIN,
    TABLE_KINDS,
    AttachDay,
    CreateDay,
    CreateParent,
    Detach,
    Drop,
    Found,
    FoundTable,
    Step,
    SumUp,
    TablePlan,
    day_bounds,
    read_leaving,
    read_record,
)

SPARE_NAMES = 9


def plan_days(
    family: TableFamily, found: Found, days: Iterable[date], *, spare_for: Collection[str] | None = None
) -> TablePlan:
    """Have the tables of these days.

    Parameters: spare_for, names that could not be attached: such a partition, or one whose name is taken by
    something else, gets another name; None: no partition does. For history, where a fire must never wait for a person.
    """
    if not family.partitioned:
        return _join(_plan_plain_day(family, found, day) for day in days)
    problem = _parent_problem(family, found)
    if problem is not None:
        return TablePlan(problems=(problem,))
    parent: tuple[Step, ...] = ()
    if found.parent_kind is None:
        parent = (CreateParent(family, FoundTable(family.name, family.schema, "partitioned table")),)
    plan = _join(_plan_partition(family, found, day, spare_for) for day in days)
    return TablePlan(parent + plan.steps, plan.problems)


def _plan_plain_day(family: TableFamily, found: Found, day: date) -> TablePlan:
    name = family.daily_table(day)
    table = found.named(family, name)
    if table is None:
        return TablePlan((CreateDay(family, FoundTable(name, family.schema), day),))
    if table.kind in TABLE_KINDS and not table.is_elsewhere:
        return TablePlan()
    return TablePlan(problems=(_name_taken(family, table),))


def _plan_partition(family: TableFamily, found: Found, day: date, spare_for: Collection[str] | None) -> TablePlan:
    first, last = day_bounds(day)
    if any(table.holds(first, last) for table in found.tables):
        return TablePlan()
    pending = next((t for t in found.tables if t.is_pending and (t.first, t.last) == (first, last)), None)
    if pending is not None:
        # It bars its day until it is gone for good; then it is a table like any other, with its rows.
        return TablePlan(
            (Detach(family, pending, day, FINALIZE, to_drop=False), AttachDay(family, pending, day, "its detaching"))
        )
    name = family.daily_table(day)
    table = found.named(family, name)
    if table is None:
        return TablePlan((CreateDay(family, FoundTable(name, family.schema), day),))
    is_attachable = table.kind in TABLE_KINDS and not table.is_attached and not table.is_elsewhere
    if is_attachable and name not in (spare_for or ()):
        return TablePlan((AttachDay(family, table, day),))
    names = (f"{name}_{n}" for n in range(2, SPARE_NAMES + 1))
    spare = next((name for name in names if found.named(family, name) is None), None)
    if spare_for is not None and spare is not None:
        return TablePlan((CreateDay(family, FoundTable(spare, family.schema), day),))
    return TablePlan(problems=(_name_taken(family, table),))


def _parent_problem(family: TableFamily, found: Found) -> str | None:
    name = f"{family.schema}.{family.name}"
    if found.parent_kind is None:
        if family.like != family.name:
            return None
        return f'{name} does not exist: create it, PARTITION BY RANGE ("{family.time_column}"), or give another like='
    if found.parent_kind != "partitioned table":
        return (
            f"{name} exists and is a {found.parent_kind}, so the days can't be its partitions: rename it, or register "
            "the family under another name"
        )
    if found.key != family.time_column:
        by = f"by the range of {found.key}" if found.key else "otherwise"
        return (
            f"{name} is partitioned {by}, not by the range of {family.time_column} alone: correct time_column, or "
            "register the family under another name"
        )
    return None


def _name_taken(family: TableFamily, table: FoundTable) -> str:
    if table.is_attached:
        what = "a partition of other days"
    elif table.is_elsewhere:
        what = "a partition of another table"
    else:
        what = f"a {table.kind}"
    return f"{family.schema}.{table.name} exists and is {what}: rename it, so that the day can be created"


def plan_summaries(family: TableFamily, found: Found, months: Iterable[date], today: date) -> TablePlan:
    """Compute these months anew from the days that there are.

    A month is never computed from fewer days than before: once some have gone, its summary is all that is left.
    """
    if not isinstance(family.summary, Summary):
        return TablePlan()
    return _join(_plan_month(family, found, month, today) for month in months)


def _plan_month(family: TableFamily, found: Found, month: date, today: date) -> TablePlan:
    there = sorted(
        ((day, table) for table, day in days_of(family, found) if first_day_of_month(day) == month),
        key=lambda pair: pair[0],
    )
    if not there:
        return TablePlan()
    name = family.summary_table(month)
    table = found.named(family, name)
    if table is not None:
        record = read_record(table.comment)
        if table.kind != "table" or record is None:
            return TablePlan(
                problems=(
                    f"{family.schema}.{name} exists and was not made by this family, so nothing is written into it: "
                    "rename it",
                )
            )
        if sum(record.first <= day <= record.last for day, _ in there) < record.count:
            return TablePlan()
    days, sources = zip(*there, strict=True)
    return TablePlan((SumUp(family, table or FoundTable(name, family.schema), month, days, sources, today),))


def plan_cleanup(family: TableFamily, found: Found, today: date) -> TablePlan:
    """Drop what is past its retention; before the first day of a month goes, the month is summed up."""
    going = [(table, day) for table, day in days_of(family, found) if family.is_day_outdated(day, today)]
    months = sorted({first_day_of_month(day) for _, day in going})
    sums = {month: plan_summaries(family, found, [month], today) for month in months}
    # What was summed up today already may be dropped; a month that can't be summed up keeps its days.
    due = {month: plan.steps[0] for month, plan in sums.items() if plan.steps and not _is_fresh(plan.steps[0])}
    steps: list[Step] = list(due.values())
    for table, day in sorted(going, key=lambda pair: (pair[1], pair[0].name)):
        month = first_day_of_month(day)
        if day in found.kept:
            if family.partitioned and not table.is_attached:
                # Taken out before it turned out to be needed.
                steps.append(AttachDay(family, table, day))
        elif not sums[month].problems:
            steps += _drop(family, found, table, day, "its month's summary" if month in due else None)
    for table in found.tables:
        of = family.month_of(table.name) if table.schema == family.schema and table.kind == "table" else None
        if of is not None and read_record(table.comment) and family.is_summary_outdated(of, today):
            steps.append(Drop(family, table))
    return TablePlan(tuple(steps), tuple(problem for plan in sums.values() for problem in plan.problems))


def _is_fresh(step: Step) -> bool:
    record = read_record(step.table.comment)
    return (
        isinstance(step, SumUp) and record is not None and record.today >= step.today and record.count == len(step.days)
    )


def _drop(family: TableFamily, found: Found, table: FoundTable, day: date, waits_for: str | None) -> list[Step]:
    if not table.is_attached:
        return [Drop(family, table, day, waits_for)]
    # Postgres refuses CONCURRENTLY where there is a default partition.
    mode = PLAIN if found.has_default else CONCURRENTLY
    detach = Detach(family, table, day, FINALIZE if table.is_pending else mode, to_drop=True, waits_for=waits_for)
    return [detach, Drop(family, table, day, waits_for or "its detaching")]


def days_of(family: TableFamily, found: Found) -> list[tuple[FoundTable, date]]:
    """The tables that are one day of the family: by name, or, for partitions, by their bounds.

    Not among them: a table that merely looks like one, a partition of several days or with a name of its own, and a
    partition that somebody detached, perhaps to keep it.
    """
    days: list[tuple[FoundTable, date]] = []
    for table in found.tables:
        day = _day_of(family, table)
        if day is not None:
            days.append((table, day))
    return days


def _day_of(family: TableFamily, table: FoundTable) -> date | None:
    is_own = table.schema == family.schema and table.name.startswith(f"{family.name}_")
    if not is_own or table.kind not in TABLE_KINDS or table.is_elsewhere or table.is_attached > family.partitioned:
        return None
    if not family.partitioned:
        return family.day_of(table.name)
    if not table.is_attached:
        return read_leaving(table.comment)
    day = None if table.first is None else table.first.astimezone(UTC).date()
    return day if day is not None and (table.first, table.last) == day_bounds(day) else None


def _join(plans: Iterable[TablePlan]) -> TablePlan:
    steps: list[Step] = []
    problems: list[str] = []
    for plan in plans:
        steps += plan.steps
        problems += plan.problems
    return TablePlan(tuple(steps), tuple(problems))

"""What is planned for a family's tables, from any catalog; a small catalog of our own carries the steps out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_core import Summary, TableFamily
from scheduler_core.domain.tables.family import first_day_of_month, last_day_of_month, months_to_sum_up
from scheduler_core.domain.tables.plan import days_of, plan_cleanup, plan_days, plan_summaries
from scheduler_core.domain.tables.steps import (
    AttachDay,
    CreateDay,
    CreateParent,
    Detach,
    Drop,
    Found,
    FoundTable,
    Planning,
    SumUp,
    day_bounds,
    leaving,
    read_leaving,
    read_record,
    record_of,
)

TODAY = date(2026, 11, 23)
COLUMNS = {"id": "bigint", "at": "timestamptz"}
PLAIN = TableFamily("log", columns=COLUMNS)
PARTITIONED = TableFamily("log", columns=COLUMNS, partitioned=True, time_column="at")
SUMMED = TableFamily("log", columns=COLUMNS, summary={"n": "count(*)"}, summary_retention_months=3)

DAYS = st.dates(date(2026, 1, 1), date(2027, 3, 1))
KINDS = st.sampled_from(["table", "partitioned table", "view", "foreign table"])


def table_of(day: date, **fields: object) -> FoundTable:
    return replace(FoundTable(PLAIN.daily_table(day), "public"), **fields)


def partition_of(day: date, **fields: object) -> FoundTable:
    first, last = day_bounds(day)
    return table_of(day, is_attached=True, first=first, last=last, **fields)


def parted(*tables: FoundTable) -> Found:
    return Found(tables, parent_kind="partitioned table", key="at")


def carry_out(family: TableFamily, found: Found, planning: Planning) -> Found:
    """As storage does, on a catalog in memory: each step planned again before it is done."""
    for step in planning(found).steps:
        fresh = planning(found).again(step)
        if fresh is None or getattr(fresh, "waits_for", None):
            continue
        others = tuple(t for t in found.tables if t.name != fresh.table.name)
        if isinstance(fresh, CreateParent):
            found = replace(found, parent_kind="partitioned table", key=family.time_column)
            continue
        if isinstance(fresh, (CreateDay, AttachDay)):
            first, last = day_bounds(fresh.day)
            bounds = {"is_attached": True, "first": first, "last": last} if family.partitioned else {}
            others += (replace(fresh.table, **bounds, comment=None, is_pending=False),)
        elif isinstance(fresh, SumUp):
            others += (replace(fresh.table, comment=record_of(fresh)),)
        elif isinstance(fresh, Detach):
            comment = leaving(fresh.day) if fresh.to_drop else fresh.table.comment
            gone = {"is_attached": False, "is_pending": False, "first": None, "last": None, "comment": comment}
            others += (replace(fresh.table, **gone),)
        found = replace(found, tables=others)
    return found


def cleanup_of(family: TableFamily, today: date) -> Planning:
    return lambda found: plan_cleanup(family, found, today)


@st.composite
def catalogs(draw: st.DrawFn) -> Found:
    """Any mixture of partitions, orphans, views, tables on their way out and look-alikes."""
    tables = []
    for day in draw(st.lists(DAYS, max_size=12, unique=True)):
        state = draw(st.sampled_from(["attached", "pending", "orphan", "leaving", "other"]))
        if state in ("attached", "pending"):
            tables.append(partition_of(day, is_pending=state == "pending"))
        elif state == "leaving":
            tables.append(table_of(day, comment=leaving(day)))
        else:
            tables.append(table_of(day, kind="table" if state == "orphan" else draw(KINDS)))
    tables.append(FoundTable("log_archive_20200101", "public"))
    return parted(*tables)


@given(catalogs(), DAYS)
def test_what_was_created_needs_no_creating(found: Found, today: date) -> None:
    def planning(f: Found) -> object:
        return plan_days(PARTITIONED, f, PARTITIONED.days_to_create(today), spare_for=())

    after = carry_out(PARTITIONED, found, planning)  # type: ignore[arg-type]
    assert planning(after).steps == ()  # type: ignore[attr-defined]
    for day in PARTITIONED.days_to_create(today):
        assert sum(t.holds(*day_bounds(day)) for t in after.tables) == 1
    assert {t.name for t in found.tables} <= {t.name for t in after.tables}, "creating drops nothing"


@given(catalogs(), DAYS, st.integers(1, 400))
def test_cleanup_drops_what_is_outdated_and_nothing_else(found: Found, today: date, retention_days: int) -> None:
    family = replace(PARTITIONED, retention_days=retention_days)
    after = carry_out(family, found, cleanup_of(family, today))
    assert plan_cleanup(family, after, today).steps == ()
    outdated = {t.name for t, day in days_of(family, found) if day < today - timedelta(days=retention_days)}
    assert {t.name for t in after.tables} == {t.name for t in found.tables} - outdated


@given(st.lists(DAYS, max_size=80, unique=True), DAYS, st.integers(1, 90))
def test_no_day_goes_before_its_month_was_summed_up_whole(days: list[date], today: date, retention_days: int) -> None:
    family = replace(SUMMED, retention_days=retention_days)
    found = Found(tuple(table_of(day) for day in days))
    after = carry_out(family, found, cleanup_of(family, today))
    left = {day for _, day in days_of(family, after)}
    for day in set(days) - left:
        summary = after.named(family, family.summary_table(day))
        if summary is None:
            assert family.is_summary_outdated(first_day_of_month(day), today)
            continue
        record = read_record(summary.comment)
        assert record is not None
        assert record.count == sum(first_day_of_month(d) == first_day_of_month(day) for d in days)
        assert last_day_of_month(day) < today - timedelta(days=retention_days)
    # And from then on the sums are left alone, whoever asks.
    months = {first_day_of_month(day) for day in set(days) - left}
    assert not [s for s in plan_summaries(family, after, months, today).steps if not left]


@given(DAYS)
def test_names_and_comments_are_read_back(day: date) -> None:
    assert PLAIN.day_of(PLAIN.daily_table(day)) == day
    assert PLAIN.month_of(PLAIN.summary_table(day)) == first_day_of_month(day)
    assert read_leaving(leaving(day)) == day
    assert last_day_of_month(day) + timedelta(days=1) == first_day_of_month(last_day_of_month(day) + timedelta(days=1))
    last, this = months_to_sum_up(day)
    assert last_day_of_month(last) + timedelta(days=1) == this == first_day_of_month(day)


@given(st.text(max_size=60))
def test_comments_of_others_are_not_ours(comment: str) -> None:
    assert read_leaving(comment) is None
    assert read_record(comment) is None


def test_a_day_is_24_hours_of_utc_whatever_the_clocks_do() -> None:
    for day in (date(2026, 3, 29), date(2026, 10, 25)):
        first, last = day_bounds(day)
        assert last - first == timedelta(hours=24)
        assert (first.utcoffset(), first.hour) == (timedelta(0), 0)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (table_of(TODAY, kind="view"), "is a view"),
        (table_of(TODAY, kind="foreign table"), "is a foreign table"),
        (table_of(TODAY, is_elsewhere=True), "a partition of another table"),
        (partition_of(TODAY - timedelta(days=1), name=PLAIN.daily_table(TODAY)), "a partition of other days"),
    ],
)
def test_a_name_that_is_taken_is_said_and_the_other_days_are_created(table: FoundTable, says: str) -> None:
    plan = plan_days(PARTITIONED, parted(table), [TODAY, TODAY + timedelta(days=1)])
    assert says in plan.problems[0]
    assert [step.table.name for step in plan.steps] == ["log_20261124"]
    spare = plan_days(PARTITIONED, parted(table), [TODAY], spare_for=())
    assert [step.table.name for step in spare.steps] == ["log_20261123_2"]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (Found(parent_kind="table"), "is a table"),
        (Found(parent_kind="view"), "is a view"),
        (Found(parent_kind="partitioned table", key="id"), "by the range of id"),
        (Found(parent_kind="partitioned table", key=None), "otherwise"),
    ],
)
def test_a_parent_that_can_not_be_one_is_said(found: Found, says: str) -> None:
    plan = plan_days(PARTITIONED, found, [TODAY])
    assert says in plan.problems[0]
    assert plan.steps == ()


def test_a_parent_that_is_its_own_template_must_be_there() -> None:
    plan = plan_days(replace(PARTITIONED, columns=None, like="log"), Found(), [TODAY])
    assert "does not exist" in plan.problems[0]


def test_a_day_that_a_larger_partition_holds_is_there() -> None:
    month = FoundTable(
        "log_november",
        "public",
        is_attached=True,
        first=datetime(2026, 11, 1, tzinfo=UTC),
        last=datetime(2026, 12, 1, tzinfo=UTC),
    )
    assert plan_days(PARTITIONED, parted(month), [TODAY]).steps == ()
    assert plan_cleanup(PARTITIONED, parted(month), date(2030, 1, 1)).steps == (), "and it is nobody's day to drop"


def test_a_partition_that_somebody_detached_is_left_alone() -> None:
    old = table_of(date(2026, 1, 1))
    assert plan_cleanup(PARTITIONED, parted(old), TODAY).steps == ()
    assert plan_cleanup(PLAIN, Found((old,)), TODAY).steps != (), "where days are by name, the name decides"


def test_a_default_partition_forbids_to_detach_concurrently() -> None:
    old = partition_of(date(2026, 1, 1))
    default = FoundTable("log_rest", "public", is_attached=True, is_default=True)
    modes = [s.mode for s in plan_cleanup(PARTITIONED, parted(old, default), TODAY).steps if isinstance(s, Detach)]
    assert modes == [""]


def test_a_day_that_must_stay_stays_and_comes_back() -> None:
    old = date(2026, 1, 1)
    for table, steps in ((partition_of(old), []), (table_of(old, comment=leaving(old)), [AttachDay])):
        found = replace(parted(table), kept={old: "3 runs"})
        assert [type(step) for step in plan_cleanup(PARTITIONED, found, TODAY).steps] == steps


def test_a_table_that_is_no_summary_of_ours_is_neither_filled_nor_dropped_and_its_days_stay() -> None:
    stranger = FoundTable("log_summary_202601", "public", comment="mine")
    found = Found((stranger, table_of(date(2026, 1, 5))))
    plan = plan_cleanup(SUMMED, found, TODAY)
    assert plan.steps == ()
    assert "was not made by this family" in plan.problems[0]


def test_a_month_that_has_lost_days_is_not_summed_up_again() -> None:
    """The sums are all that is left of the days that were dropped."""
    days = [date(2026, 10, n) for n in (1, 2, 3)]
    whole = Found(tuple(table_of(day) for day in days))
    (step,) = plan_summaries(SUMMED, whole, [date(2026, 10, 1)], TODAY).steps
    assert isinstance(step, SumUp)
    summary = replace(step.table, comment=record_of(step))
    fewer = Found((summary, *(table_of(day) for day in days[1:])))
    assert plan_summaries(SUMMED, fewer, [date(2026, 10, 1)], TODAY).steps == ()
    more = Found((summary, *(table_of(day) for day in (*days, date(2026, 10, 4)))))
    assert len(plan_summaries(SUMMED, more, [date(2026, 10, 1)], TODAY).steps) == 1


def test_a_summary_that_is_past_its_retention_goes() -> None:
    step = SumUp(SUMMED, FoundTable("log_summary_202601", "public"), date(2026, 1, 1), (date(2026, 1, 1),), (), TODAY)
    summary = replace(step.table, comment=record_of(step))
    steps = plan_cleanup(replace(SUMMED, summary=Summary({"n": "count(*)"})), Found((summary,)), TODAY).steps
    assert [type(s) for s in steps] == [Drop]

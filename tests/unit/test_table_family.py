"""Table families: names that can't be anything but names, and what is due for creation and removal."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler_core import Summary, TableFamily
from scheduler_core.domain.tables.family import InvalidTableFamilyError
from scheduler_core.storage.tables.statements import quoted

COLUMNS = {"id": "bigint"}


@pytest.mark.parametrize("name", ['x"; drop table', "", "1a", "A", "a-b", "a" * 41, "ünter", "a b", "a;b", "a\n", None])
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(InvalidTableFamilyError, match="plain identifier"):
        TableFamily(name, columns=COLUMNS)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"columns": None}, "either columns= or like="),
        ({"like": "template"}, "either columns= or like="),
        ({"columns": {}}, "no column"),
        ({"partitioned": True}, "time_column"),
        ({"partitioned": True, "time_column": "at"}, "none of its columns"),
        ({"time_column": 'at"'}, "plain identifier"),
        ({"schema": "pub lic"}, "plain identifier"),
        ({"columns": None, "like": 'x"; drop'}, "plain identifier"),
        ({"columns": None, "like": "family_20260101"}, "one of its tables"),
        ({"columns": None, "like": "family_summary_202601"}, "one of its tables"),
        ({"days_ahead": -1}, "days_ahead"),
        ({"days_ahead": 367}, "days_ahead"),
        ({"days_ahead": 2.5}, "days_ahead"),
        ({"days_ahead": True}, "days_ahead"),
        ({"retention_days": 0}, "retention_days"),
        ({"retention_days": -3}, "retention_days"),
        ({"retention_days": 36_501}, "retention_days"),
        ({"summary_retention_months": 0}, "summary_retention_months"),
        ({"columns": {"id": "bigint); drop table x; --"}}, "plain SQL"),
        ({"columns": {"id": "bigint) (drop"}}, "more than one"),
        ({"columns": {"id": "bigint, evil text"}}, "more than one"),
        ({"columns": {"id": "numeric(10"}}, "never closed"),
        ({"columns": {"id": "text DEFAULT 'x'"}}, "no quotes"),
        ({"columns": {"id; drop": "bigint"}}, "plain identifier"),
        ({"columns": {"id": 3}}, "plain SQL"),
        ({"summary": {"n": "count(*); drop table x"}}, "plain SQL"),
        ({"summary": {"n": "count(*) /* */"}}, "plain SQL"),
        ({"summary": {"n": "count(*)) FROM secrets"}}, "more than one"),
        ({"summary": {"n": "n, (2)"}}, "more than one"),
        ({"summary": {}}, "no column to compute"),
        ({"summary": Summary({"n": "count(*)"}, by=('id"',))}, "plain identifier"),
        ({"summary": Summary({"id": "count(*)"}, by=("id",))}, "stands in by="),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidTableFamilyError, match=says):
        TableFamily("family", **{"columns": COLUMNS, **wrong})


@pytest.mark.parametrize(
    "kind", ["numeric(10,2)", "bigint NOT NULL DEFAULT 0", "text[]", "timestamptz DEFAULT now()", "double precision"]
)
def test_types_of_columns_may_say_more(kind: str) -> None:
    TableFamily("family", columns={"id": kind}, summary={"n": "(sum(id) FILTER (WHERE id > 3))::bigint"})


@pytest.mark.parametrize("name", ["log_20260101", "log_summary_202601"])
def test_a_family_that_would_be_a_day_of_another_is_refused(name: str) -> None:
    with pytest.raises(InvalidTableFamilyError, match="of another family"):
        TableFamily(name, columns=COLUMNS)


def test_tables_are_recognized_by_their_whole_name() -> None:
    family = TableFamily("log", columns=COLUMNS)
    assert family.daily_table(date(2026, 1, 31)) == "log_20260131"
    assert family.summary_table(date(2026, 1, 1)) == "log_summary_202601"
    assert family.day_of("log_20260131") == date(2026, 1, 31)
    assert family.month_of("log_summary_202601") == date(2026, 1, 1)
    for other in (
        "log_archive_20260131",
        "log_x_summary_202601",
        "log_20260230",
        "log_20261301",
        "log_00000101",
        "log_2026١١23",
        "log",
        "blog_20260131",
        "log_summary_202613",
        "log_summary_202600",
        "log_20260131_old",
    ):
        assert family.day_of(other) is None
        assert family.month_of(other) is None


@given(st.from_regex(r"[a-z_][a-z0-9_]{0,39}", fullmatch=True), st.dates(date(1, 1, 1), date(9999, 12, 31)))
def test_no_name_is_ever_cut_off_or_taken_for_another(name: str, day: date) -> None:
    """Postgres cuts a name off at 63 bytes without a word."""
    assume(not re.search(r"_(\d{8}|summary_\d{6})$", name))
    family = TableFamily(name, columns=COLUMNS)
    for table in (family.daily_table(day), family.summary_table(day)):
        assert len(table.encode()) <= 63
    assert family.month_of(family.daily_table(day)) is None
    assert family.day_of(family.summary_table(day)) is None


@given(st.text(max_size=50))
def test_whatever_is_accepted_as_sql_stays_in_its_place(text: str) -> None:
    try:
        TableFamily("family", columns={"id": text})
    except InvalidTableFamilyError:
        return
    assert not set(text) & set("'\";\\$\n")
    assert text.count("(") == text.count(")")


@given(st.text())
def test_a_quoted_name_has_no_way_out(name: str) -> None:
    assert '"' not in quoted(name)[1:-1].replace('""', "")


def test_only_what_is_past_its_retention_is_outdated() -> None:
    family = TableFamily("log", columns=COLUMNS, retention_days=30, summary_retention_months=2)
    today = date(2026, 3, 31)
    assert family.is_day_outdated(date(2026, 2, 28), today)
    assert not family.is_day_outdated(date(2026, 3, 1), today)
    assert family.is_summary_outdated(date(2025, 12, 1), today)
    assert not family.is_summary_outdated(date(2026, 1, 1), today)


@given(st.dates(date(2026, 1, 1), date(2027, 1, 1)), st.integers(1, 60))
def test_with_a_summary_the_days_of_a_month_go_together(day: date, retention_days: int) -> None:
    family = TableFamily("log", columns=COLUMNS, retention_days=retention_days, summary={"n": "count(*)"})
    for days in range(100):
        today = day + timedelta(days=days)
        assert family.is_day_outdated(day, today) == family.is_day_outdated(day.replace(day=1), today)


def test_what_is_kept_for_ever_is_never_outdated() -> None:
    family = TableFamily("log", columns=COLUMNS, retention_days=None)
    assert not family.is_day_outdated(date(2000, 1, 1), date(2026, 1, 1))
    assert not family.is_summary_outdated(date(2000, 1, 1), date(2026, 1, 1))

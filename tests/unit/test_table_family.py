"""Table families: names that can't be anything but names, and what is due for creation and removal."""

from __future__ import annotations

from datetime import date

import pytest

from scheduler_core import TableFamily
from scheduler_core.domain.table_family import InvalidTableFamilyError, months_to_sum_up

COLUMNS = {"id": "bigint"}


@pytest.mark.parametrize("name", ['x"; drop table', "", "1a", "A", "a-b", "a" * 41, "ünter", "a b", "a;b"])
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(InvalidTableFamilyError, match="plain identifier"):
        TableFamily(name, columns=COLUMNS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"columns": None},
        {"like": "template"},
        {"partitioned": True},
        {"days_ahead": -1},
        {"retention_days": 0},
        {"columns": {"id": "bigint); drop table x; --"}},
        {"columns": {"id; drop": "bigint"}},
        {"summary": {"n": "count(*); drop table x"}},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidTableFamilyError):
        TableFamily("family", **{"columns": COLUMNS, **wrong})


def test_tables_are_recognized_by_their_whole_name() -> None:
    family = TableFamily("log", columns=COLUMNS)
    assert family.daily_table(date(2026, 1, 31)) == "log_20260131"
    assert family.summary_table(date(2026, 1, 1)) == "log_summary_202601"
    assert family.day_of("log_20260131") == date(2026, 1, 31)
    assert family.month_of("log_summary_202601") == date(2026, 1, 1)
    for other in ("log_archive_20260131", "log_20260230", "log", "blog_20260131", "log_summary_202613"):
        assert family.day_of(other) is None
        assert family.month_of(other) is None


def test_only_what_is_past_its_retention_is_outdated() -> None:
    family = TableFamily("log", columns=COLUMNS, retention_days=30, summary_retention_months=2)
    today = date(2026, 3, 31)
    assert family.is_day_outdated(date(2026, 2, 28), today)
    assert not family.is_day_outdated(date(2026, 3, 1), today)
    assert family.is_summary_outdated(date(2025, 12, 1), today)
    assert not family.is_summary_outdated(date(2026, 1, 1), today)


def test_last_month_is_summed_up_until_it_has_settled() -> None:
    assert months_to_sum_up(date(2026, 1, 15)) == (date(2025, 12, 1), date(2026, 1, 1))

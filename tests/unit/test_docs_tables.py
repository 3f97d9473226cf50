"""The SQL in docs/tables.md is what runs."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from scheduler_core import TableFamily
from scheduler_core.domain.tables.plan import plan_cleanup, plan_days
from scheduler_core.domain.tables.steps import Found, FoundTable, day_bounds
from scheduler_core.storage.tables.statements import block_of, script_of

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text()
DAY = date(2026, 11, 23)
FAMILY = TableFamily("orders", columns={"at": "timestamptz"}, partitioned=True, time_column="at")
FIRST, LAST = day_bounds(DAY)
NOTHING = Found((), parent_kind="partitioned table", key="at")
OLD = Found(
    (FoundTable("orders_20261123", "public", is_attached=True, first=FIRST, last=LAST),),
    parent_kind="partitioned table",
    key="at",
)


@pytest.mark.parametrize(
    ("title", "plan"),
    [("create", plan_days(FAMILY, NOTHING, [DAY])), ("drop", plan_cleanup(FAMILY, OLD, date(2027, 11, 23)))],
)
def test_the_sql_of_the_page_is_what_runs(title: str, plan: object) -> None:
    shown = re.search(rf"<!-- sql: {title} -->\n```sql\n(.*?)\n```", PAGE, re.DOTALL)
    assert shown is not None
    assert shown[1] == script_of([(step.family, block_of(step)) for step in plan.steps])  # type: ignore[attr-defined]

"""Daily tables, summaries and their removal, on real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from scheduler_core import Container, Summary, TableFamily, TableScheduler

Sql = psycopg.Connection[Any]
COLUMNS = {"player": "bigint NOT NULL", "score": "integer NOT NULL", "at": "timestamptz NOT NULL DEFAULT now()"}


@pytest.fixture
async def families(container: Container) -> AsyncIterator[type[TableScheduler]]:
    await container.prepare()
    yield TableScheduler
    for name in ("log", "copy"):
        TableScheduler.unregister(name)


def tables(sql: Sql, prefix: str) -> list[str]:
    rows = sql.execute(
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = 'public' AND relkind IN ('r', 'p') AND starts_with(relname, %s) ORDER BY 1",
        [prefix],
    )
    return [name for (name,) in rows.fetchall()]


def today(sql: Sql) -> date:
    return sql.execute("SELECT clock_timestamp()").fetchone()[0].astimezone(UTC).date()  # type: ignore[index,no-any-return]


async def test_daily_tables_are_created_ahead_and_only_once(families: type[TableScheduler], sql: Sql) -> None:
    families.register(TableFamily("log", columns=COLUMNS, days_ahead=2))
    created = await families.create_daily_tables()
    assert [name for name in created if name.startswith("log")] == tables(sql, "log_")
    assert len(tables(sql, "log_")) == 3
    assert await families.create_daily_tables() == []


async def test_callers_at_the_same_moment_do_the_work_once(families: type[TableScheduler], sql: Sql) -> None:
    families.register(TableFamily("log", columns=COLUMNS, days_ahead=5))
    created = await asyncio.gather(*(families.create_daily_tables() for _ in range(5)))
    assert sorted(name for names in created for name in names) == sorted(set(tables(sql, "log_")))


async def test_a_template_is_copied(families: type[TableScheduler], sql: Sql) -> None:
    sql.execute("CREATE TABLE public.template (id bigint PRIMARY KEY, note text DEFAULT 'x')")
    families.register(TableFamily("copy", like="template", days_ahead=0))
    await families.create_daily_tables()
    (name,) = tables(sql, "copy_")
    sql.execute(f"INSERT INTO public.{name} (id) VALUES (1)")
    assert sql.execute(f"SELECT note FROM public.{name}").fetchone() == ("x",)


async def test_partitions_take_rows_of_their_day_and_leave_whole(families: type[TableScheduler], sql: Sql) -> None:
    """FIELD: xxl-job #1140, deleting history row by row."""
    family = TableFamily("log", columns=COLUMNS, partitioned=True, time_column="at", retention_days=7)
    families.register(family)
    await families.create_daily_tables()
    sql.execute("INSERT INTO public.log (player, score) VALUES (1, 2)")
    old = today(sql) - timedelta(days=8)
    day = family.daily_table(old)
    sql.execute(
        f"CREATE TABLE public.{day} PARTITION OF public.log FOR VALUES FROM ('{old}') TO ('{old + timedelta(days=1)}')"
    )
    assert await families.cleanup_old_tables() == [day]
    assert day not in tables(sql, "log_")
    assert sql.execute("SELECT count(*) FROM public.log").fetchone() == (1,)


async def test_a_month_is_summed_up_anew_each_time(families: type[TableScheduler], sql: Sql) -> None:
    summary = Summary({"games": "count(*)", "best": "max(score)"}, by=("player",))
    family = TableFamily("log", columns=COLUMNS, days_ahead=0, summary=summary)
    families.register(family)
    await families.create_daily_tables()
    day, month = family.daily_table(today(sql)), family.summary_table(today(sql).replace(day=1))
    sql.execute(f"INSERT INTO public.{day} (player, score) VALUES (1, 5), (1, 9), (2, 3)")
    assert await families.create_monthly_summary_tables() == [month]
    sql.execute(f"INSERT INTO public.{day} (player, score) VALUES (2, 7)")
    assert await families.create_monthly_summary_tables() == [month]
    assert sql.execute(f"SELECT * FROM public.{month} ORDER BY player").fetchall() == [(1, 2, 9), (2, 2, 7)]


async def test_a_table_in_use_is_dropped_when_it_is_free(
    families: type[TableScheduler], sql: Sql, database_url: str
) -> None:
    """FIELD: tycho PR #1323, a lost race for a lock."""
    family = TableFamily("log", columns=COLUMNS, retention_days=1)
    families.register(family)
    day = family.daily_table(today(sql) - timedelta(days=3))
    sql.execute(f"CREATE TABLE public.{day} (player bigint)")
    reader = psycopg.connect(database_url)
    reader.execute(f"SELECT * FROM public.{day}")
    dropping = asyncio.create_task(families.cleanup_old_tables())
    await asyncio.wait({dropping}, timeout=0.8)
    assert not dropping.done()
    reader.close()
    assert await dropping == [day]


async def test_old_partitions_of_the_run_history_are_dropped(
    families: type[TableScheduler], container: Container, sql: Sql
) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=container.settings.history_days + 5)
    from storage.partitions import Partitions

    made = await Partitions(container.get_database()).ensure([long_ago])
    assert sorted(await families.cleanup_old_tables()) == sorted(made)


async def test_one_family_that_fails_leaves_the_others_theirs(families: type[TableScheduler], sql: Sql) -> None:
    from scheduler_core import SchedulerError

    families.register(TableFamily("copy", like="not_there"))
    families.register(TableFamily("log", columns=COLUMNS, days_ahead=0))
    with pytest.raises(SchedulerError, match="copy"):
        await families.create_daily_tables()
    assert len(tables(sql, "log_")) == 1

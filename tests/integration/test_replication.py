"""Tables that somebody publishes: each row can be named, so that Postgres refuses none of its changes."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from commands import Command
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob, TableFamily, TableScheduler

Sql = psycopg.Connection[Any]

PUBLISH = "CREATE PUBLICATION everything FOR ALL TABLES"

UNNAMED = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'scheduler'::regnamespace AND c.relkind = 'r'
  AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid
                  AND (x.indisreplident OR c.relreplident = 'd' AND x.indisprimary))
ORDER BY 1
"""


def unnamed(sql: Sql) -> list[str]:
    return [name for (name,) in sql.execute(UNNAMED).fetchall()]


def a_day_by_hand(sql: Sql, table: str, day: date) -> str:
    """A partition as LIKE and ATTACH make it."""
    name, after = f"{table}_{day:%Y%m%d}", day + timedelta(days=1)
    sql.execute(f"CREATE TABLE scheduler.{name} (LIKE scheduler.{table} INCLUDING ALL)")
    sql.execute(
        f"ALTER TABLE scheduler.{table} ATTACH PARTITION scheduler.{name} "
        f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{after} 00:00:00+00')"
    )
    return name


async def test_a_publication_of_all_tables_stops_nothing(container: Container, sql: Sql) -> None:
    """mastra #13097, pg_repack #235: updates of a table without a replica identity are refused, and nothing fires."""
    sql.execute(PUBLISH)
    calls: Counter[str] = Counter()

    async def work() -> None:
        calls["work"] += 1

    async def stumble() -> None:
        calls["stumble"] += 1
        if calls["stumble"] == 1:
            raise RuntimeError("the first time")

    async def fail() -> None:
        raise RuntimeError("each time")

    scheduler = await container.start(
        [
            ScheduleJob("fires", "F", "interval", 0.2, work),
            ScheduleJob("is retried", "R", "once", None, stumble, retry_delay=0.05),
            ScheduleJob("is disabled", "D", "interval", 0.2, fail, max_retries=0, disable_after=2),
        ]
    )
    ended = "SELECT status, count(*) FROM scheduler_audit.runs WHERE job_id = %s GROUP BY status"

    async def has(job_id: str, status: str, count: int = 1) -> None:
        await eventually_async(
            lambda: dict(sql.execute(ended, [job_id]).fetchall()).get(status, 0) >= count, what=f"{job_id} {status}"
        )

    await has("fires", "succeeded", 3)
    await has("is retried", "succeeded")
    await has("is disabled", "failed", 2)
    await scheduler.operations.pause("fires")
    await scheduler.operations.resume("fires")
    await scheduler.operations.remove("fires")
    attempts = "SELECT outcome FROM scheduler_audit.attempts WHERE job_id = 'is retried' ORDER BY attempt"
    assert sql.execute(attempts).fetchall() == [("failed",), ("succeeded",)]


async def test_each_day_s_rows_can_be_named_whoever_made_the_day(container: Container, sql: Sql) -> None:
    await container.prepare()
    today = datetime.now(UTC).date()
    tables = container.get_tables()
    await tables.ensure_history([today - timedelta(days=200)])
    orphan = f"runs_{today - timedelta(days=300):%Y%m%d}"
    sql.execute(f"CREATE TABLE scheduler.{orphan} (LIKE scheduler.runs)")
    await tables.ensure_history([today - timedelta(days=300)])
    assert unnamed(sql) == []
    made = [a_day_by_hand(sql, table, today - timedelta(days=100)) for table in ("attempts", "runs")]
    assert unnamed(sql) == made, "LIKE and ATTACH make them without"
    await container.create_history()
    assert unnamed(sql) == []


OPTIONS = """
SELECT c.relname, c.reloptions FROM pg_class c
WHERE c.relnamespace = 'scheduler'::regnamespace AND c.relkind = 'r' AND c.reloptions IS NOT NULL
"""

HISTORY = "SELECT count(*) FROM pg_partition_tree('scheduler.runs') WHERE isleaf"

OF_JOBS = [
    "fillfactor=70",
    "autovacuum_vacuum_scale_factor=0.05",
    "autovacuum_vacuum_threshold=1000",
    "autovacuum_vacuum_cost_delay=0",
]


async def test_each_day_has_room_in_its_pages_whoever_made_the_day(container: Container, sql: Sql) -> None:
    await container.prepare()
    today = datetime.now(UTC).date()
    await container.get_tables().ensure_history([today - timedelta(days=200)])
    a_day_by_hand(sql, "runs", today - timedelta(days=100))
    somebodys = a_day_by_hand(sql, "runs", today - timedelta(days=101))
    sql.execute(f"ALTER TABLE scheduler.{somebodys} SET (fillfactor = 90)")
    await container.create_history()
    found = dict(sql.execute(OPTIONS).fetchall())
    days = {name: options for name, options in found.items() if name.startswith("runs_")}
    assert sql.execute(HISTORY).fetchone() == (len(days),)
    assert days.pop(somebodys) == ["fillfactor=90"], "what somebody chose stays"
    assert set(map(tuple, days.values())) == {("fillfactor=60",)}
    assert found["jobs"] == OF_JOBS
    assert {name for name in found if name not in days} == {somebodys, "jobs"}


async def test_the_doctor_says_which_table_is_not_named(container: Container, sql: Sql, command: Command) -> None:
    await container.prepare()
    today = datetime.now(UTC).date()
    name = f"runs_{today:%Y%m%d}"
    sql.execute(f"ALTER TABLE scheduler.{name} REPLICA IDENTITY NOTHING")
    [found] = [
        finding
        for finding in json.loads(command("doctor", "--json", code=1).stdout)["findings"]
        if finding["kind"] == "replica identity"
    ]
    assert found["subject"] == name
    assert "scheduler migrate" in found["detail"]
    sql.execute(f"ALTER TABLE scheduler.{name} REPLICA IDENTITY DEFAULT")
    command("migrate")
    assert "replica identity" not in command("doctor").stdout


@pytest.mark.parametrize("partitioned", [False, True])
async def test_a_month_is_summed_up_anew_under_a_publication(container: Container, sql: Sql, partitioned: bool) -> None:
    await container.prepare()
    sql.execute(PUBLISH)
    columns = {"at": "timestamptz NOT NULL DEFAULT now()"}
    by = {"partitioned": True, "time_column": "at"} if partitioned else {}
    TableScheduler.register(TableFamily("log", columns=columns, summary={"n": "count(*)"}, **by))  # type: ignore[arg-type]
    try:
        with TableScheduler.on(container.get_tables):
            await TableScheduler.create_daily_tables()
            for _ in range(2):
                assert await TableScheduler.create_monthly_summary_tables()
    finally:
        TableScheduler.unregister("log")

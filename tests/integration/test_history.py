"""The scheduler's own history: its partitions come ahead and go in time, no fire waits for one, no sum is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import (
    Container,
    InvalidJobError,
    ScheduleJob,
    SchedulerError,
    TableFamily,
    TableScheduler,
    load_settings,
)
from scheduler_core.domain.tables.steps import leaving
from scheduler_core.engine.operations.tables import cleanup, look_after_history
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.storage.postgres.partitions import Partitions
from scheduler_core.storage.tables.maintenance import TableStore

Sql = psycopg.Connection[Any]
HISTORY_DAYS = 30
VIEW = "SELECT * FROM scheduler_audit.daily_summary ORDER BY day, job_id"


def today(sql: Sql) -> date:
    return one(sql, "SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date")  # type: ignore[no-any-return]


def one(sql: Sql, query: str, *parameters: Any) -> Any:
    row = sql.execute(query, parameters).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def day_name(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"


def attached(sql: Sql) -> set[str]:
    return {
        name
        for (name,) in sql.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE NOT i.inhdetachpending "
            "AND i.inhparent IN ('scheduler.runs'::regclass, 'scheduler.attempts'::regclass)"
        )
    }


def add_run(sql: Sql, moment: datetime, status: str = "succeeded", **columns: Any) -> None:
    row = {
        "run_id": uuid4(),
        "job_id": "j",
        "job_name": "J",
        "scheduled_for": moment,
        "due_at": moment,
        "origin": "schedule",
        "status": status,
        "definition_version": 1,
        **columns,
    }
    sql.execute(
        f"INSERT INTO scheduler.runs ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values())
    )


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


@pytest.fixture
async def prepared(container: Container) -> Container:
    await container.prepare()
    return container


@pytest.fixture
async def old(prepared: Container, sql: Sql) -> date:
    """A day past `history_days`, with its partitions."""
    day = today(sql) - timedelta(days=HISTORY_DAYS + 5)
    await Partitions(prepared.get_database()).ensure([noon(day)])
    return day


@pytest.fixture
async def fires(container: Container, sql: Sql) -> AsyncIterator[list[datetime]]:
    """A running scheduler with a job that is due each second, and the instants at which it was called."""
    seen: list[datetime] = []

    async def tick() -> None:
        seen.append(datetime.now(UTC))

    scheduler: BaseScheduler = await container.start([ScheduleJob("tick", "Tick", "interval", 1, tick, misfire="all")])
    yield seen
    await scheduler.stop()


async def fire_again(seen: list[datetime], count: int = 3) -> None:
    before = len(seen)

    async def more() -> bool:
        return len(seen) >= before + count

    await eventually_async(more, what=f"{count} more fires")


# No fire waits for a partition.


async def test_a_partition_that_was_dropped_by_hand_stops_no_fire(fires: list[datetime], sql: Sql) -> None:
    """pg_partman #677 and its like: inserts that crash because a partition is not there."""
    await fire_again(fires)
    days = [today(sql) + timedelta(days=n) for n in (0, 1)]
    for day in days:
        sql.execute(f"DROP TABLE scheduler.{day_name('runs', day)}, scheduler.{day_name('attempts', day)}")
    await fire_again(fires)
    assert day_name("runs", today(sql)) in attached(sql)


async def test_an_orphan_of_the_days_name_comes_back_with_its_rows(fires: list[datetime], sql: Sql) -> None:
    await fire_again(fires)
    name = day_name("runs", today(sql))
    sql.execute(f"ALTER TABLE scheduler.runs DETACH PARTITION scheduler.{name}")
    rows = one(sql, f"SELECT count(*) FROM scheduler.{name}")
    await fire_again(fires)
    assert name in attached(sql)
    assert one(sql, "SELECT count(*) FROM scheduler.runs") > rows > 0


@pytest.mark.parametrize("what", ["TABLE scheduler.{} (n int)", "VIEW scheduler.{} AS SELECT 1 AS n"])
async def test_a_stranger_under_the_days_name_stops_no_fire(fires: list[datetime], sql: Sql, what: str) -> None:
    """The partition gets another name, and is found and dropped under it in its time."""
    await fire_again(fires)
    name = day_name("runs", today(sql))
    sql.execute(f"DROP TABLE scheduler.{name}")
    sql.execute("CREATE " + what.format(name))
    await fire_again(fires)
    assert f"{name}_2" in attached(sql)
    assert one(sql, "SELECT is_short FROM scheduler_audit.table_families WHERE family = 'runs'") is False


async def test_a_detach_that_was_cut_off_stops_no_fire(fires: list[datetime], sql: Sql, database_url: str) -> None:
    await fire_again(fires)
    name = day_name("runs", today(sql))
    with psycopg.connect(database_url) as user, psycopg.connect(database_url, autocommit=True) as operator:
        user.execute("SELECT count(*) FROM scheduler.runs")
        operator.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            operator.execute(f"ALTER TABLE scheduler.runs DETACH PARTITION scheduler.{name} CONCURRENTLY")
        assert one(sql, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == 1
    await fire_again(fires)
    assert name in attached(sql)
    assert one(sql, "SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == 0


async def test_a_partition_under_a_spare_name_is_dropped_in_its_time(prepared: Container, sql: Sql, old: date) -> None:
    name = day_name("runs", old)
    sql.execute(f"ALTER TABLE scheduler.{name} RENAME TO {name}_2")
    add_run(sql, noon(old))
    await TableScheduler.cleanup_old_tables()
    assert one(sql, "SELECT count(*) FROM pg_class WHERE starts_with(relname, %s) AND relkind = 'r'", name) == 0
    assert [row[0] for row in sql.execute(VIEW)] == [old]


# Days go when their time is up.


async def test_the_leader_drops_what_is_past_its_time_by_itself(prepared: Container, sql: Sql, old: date) -> None:
    kept = today(sql) - timedelta(days=HISTORY_DAYS)
    await Partitions(prepared.get_database()).ensure([noon(kept)])
    await prepared.get_storage().maintain()
    left = attached(sql)
    assert not {day_name("runs", old), day_name("attempts", old)} & left
    assert {day_name("runs", kept), day_name("attempts", kept)} <= left


async def test_cleanup_drops_the_history_too(prepared: Container, sql: Sql, old: date) -> None:
    assert await TableScheduler.cleanup_old_tables() == [day_name("runs", old), day_name("attempts", old)]


async def test_detaching_goes_past_a_pooler(
    prepared: Container, sql: Sql, old: date, database_url: str, redis_url: str
) -> None:
    """`control_database_url` is a direct way; what a session sets would stay with somebody else's behind a pooler."""
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    lost = Container(load_settings(database_url=database_url, redis_url=redis_url, control_database_url=nowhere))
    lost.get_tables()
    tables = TableStore(lost.get_database(), direct=lost._servers.direct(), history_days=1, patience_seconds=0.1)
    work = await tables.carry_out(tables.history[0], cleanup(tables.history[0], today(sql)))
    assert "127.0.0.1:1" in work.problems[0]
    assert day_name("runs", old) in attached(sql)
    await lost.close()
    made = Container(load_settings(database_url=database_url, redis_url=redis_url, control_database_url=database_url))
    try:
        with TableScheduler.on(made.get_tables):
            assert day_name("runs", old) in await TableScheduler.cleanup_old_tables()
    finally:
        await made.close()


@pytest.mark.parametrize("status", ["pending", "queued", "running", "retrying"])
async def test_a_run_that_has_not_ended_keeps_its_day(
    prepared: Container, sql: Sql, old: date, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Dropped, it would neither fire nor be accounted for."""
    add_run(sql, noon(old), status)
    with caplog.at_level(logging.WARNING, "scheduler_core"):
        await look_after_history(prepared.get_tables(), logging.getLogger("scheduler_core"))
    assert {day_name("runs", old), day_name("attempts", old)} <= attached(sql)
    (finding,) = await prepared.get_tables().findings()
    assert (finding["kind"], finding["subject"]) == ("kept", day_name("runs", old))
    assert "job j" in finding["detail"]
    assert finding["detail"] in caplog.text
    sql.execute("UPDATE scheduler.runs SET status = 'succeeded'")
    await TableScheduler.cleanup_old_tables()
    assert not {day_name("runs", old), day_name("attempts", old)} & attached(sql)
    assert await prepared.get_tables().findings() == []


async def test_a_day_that_was_detached_too_early_comes_back(prepared: Container, sql: Sql, old: date) -> None:
    """A run came in between the look and the detaching, and whoever detached it died."""
    name = day_name("runs", old)
    add_run(sql, noon(old), "pending")
    sql.execute(f"COMMENT ON TABLE scheduler.{name} IS '{leaving(old)}'")
    sql.execute(f"ALTER TABLE scheduler.runs DETACH PARTITION scheduler.{name}")
    await TableScheduler.cleanup_old_tables()
    assert name in attached(sql)
    assert one(sql, "SELECT count(*) FROM scheduler.runs WHERE status = 'pending'") == 1


async def test_a_history_in_use_is_dropped_later_and_stops_nothing(
    prepared: Container, sql: Sql, old: date, database_url: str
) -> None:
    """A report that takes minutes holds the detaching up; who reads the sums meanwhile misses nothing."""
    tables = prepared.get_tables()
    tables._patience_seconds = 0.5
    add_run(sql, noon(old))
    before = sql.execute(VIEW).fetchall()
    with psycopg.connect(database_url) as report:
        report.execute("SELECT count(*) FROM scheduler.runs")
        await look_after_history(tables, logging.getLogger("scheduler_core"))
        assert one(sql, "SELECT count(*) FROM scheduler.runs") == 0, "on its way out"
        assert sql.execute(VIEW).fetchall() == before
        assert one(sql, "SELECT count(*) FROM pg_class WHERE relname = %s", day_name("runs", old)) == 1
    await look_after_history(tables, logging.getLogger("scheduler_core"))
    assert one(sql, "SELECT count(*) FROM pg_class WHERE relname = %s", day_name("runs", old)) == 0
    assert sql.execute(VIEW).fetchall() == before


# The sums.


def add_any_runs(sql: Sql, day: date, count: int, dice: random.Random) -> None:
    """Rows of every kind that the scheduler writes for ended runs."""
    for n in range(count):
        moment = noon(day) - timedelta(seconds=dice.randrange(43_200), microseconds=n)
        started = moment + timedelta(seconds=dice.random() * 3)
        status, reason, missed = dice.choice(
            [
                ("succeeded", None, None),
                ("succeeded", None, 3),
                ("failed", None, None),
                ("lost", "owner_died", None),
                ("cancelled", "requested", None),
                ("skipped", "overlap", None),
                ("skipped", "calendar", None),
                ("skipped", "calendar", 7),
                ("skipped", "no_calendar", 2),
                ("missed", "downtime", 40),
            ]
        )
        executed = status not in ("skipped", "missed")
        add_run(
            sql,
            moment,
            status,
            job_id=dice.choice("abc"),
            origin=dice.choice(["schedule", "backfill", "trigger"]),
            reason=reason,
            missed_count=missed,
            started_at=started if executed else None,
            finished_at=started + timedelta(seconds=dice.random() * 100) if executed else moment,
        )


@pytest.mark.parametrize("seed", range(4))
async def test_the_sums_are_the_same_before_and_after_their_rows_are_dropped(
    prepared: Container, sql: Sql, old: date, seed: int
) -> None:
    dice = random.Random(seed)
    recent = today(sql) - timedelta(days=1)
    for day in (old, recent):
        add_any_runs(sql, day, 200, dice)
    before = sql.execute(VIEW).fetchall()
    assert {row[0] for row in before} == {old, recent}
    await TableScheduler.cleanup_old_tables()
    assert one(sql, "SELECT count(*) FROM scheduler.runs") == 200
    assert sql.execute(VIEW).fetchall() == before
    await TableScheduler.cleanup_old_tables()
    assert sql.execute(VIEW).fetchall() == before


async def test_sums_are_exact_however_late_a_row_changes(prepared: Container, sql: Sql, old: date) -> None:
    """What was stored ahead of the drop counts for nothing as long as the rows can be read."""
    add_run(sql, noon(old), "failed")
    sql.execute(
        "INSERT INTO scheduler.daily_summaries SELECT day, job_id, runs, succeeded, failed, skipped, missed, "
        "p50_duration, p95_duration, p95_lateness, false FROM scheduler_audit.daily_summary"
    )
    sql.execute(
        "INSERT INTO scheduler.daily_summaries VALUES (%s, 'gone', 9, 9, 0, 0, 0, NULL, NULL, NULL, false)", [old]
    )
    sql.execute("UPDATE scheduler.runs SET status = 'succeeded'")
    add_run(sql, noon(old) + timedelta(seconds=1))
    expected = [(old, "j", 2, 2, 0, 0, 0)]
    assert [row[:7] for row in sql.execute(VIEW)] == expected
    await TableScheduler.cleanup_old_tables()
    assert [row[:7] for row in sql.execute(VIEW)] == expected
    assert one(sql, "SELECT bool_and(is_final) FROM scheduler.daily_summaries")


async def test_a_day_that_comes_back_after_its_drop_adds_to_its_sums(prepared: Container, sql: Sql, old: date) -> None:
    for n in range(1, 4):
        await Partitions(prepared.get_database()).ensure([noon(old)])
        add_run(sql, noon(old) + timedelta(seconds=n))
        assert [row[:4] for row in sql.execute(VIEW)] == [(old, "j", n, n)]
        await TableScheduler.cleanup_old_tables()
        assert [row[:4] for row in sql.execute(VIEW)] == [(old, "j", n, n)]


async def test_a_question_about_one_day_reads_one_partition(prepared: Container, sql: Sql) -> None:
    days = [today(sql) - timedelta(days=n) for n in range(3)]
    await Partitions(prepared.get_database()).ensure([noon(day) for day in days])
    for day in days:
        add_run(sql, noon(day))
    plan = "\n".join(
        line
        for (line,) in sql.execute(
            "EXPLAIN (ANALYZE, COSTS OFF) SELECT * FROM scheduler_audit.daily_summary WHERE day = %s", [days[1]]
        )
    )
    read = {
        name
        for name in (day_name("runs", day) for day in days)
        for line in plan.splitlines()
        if name in line and "never executed" not in line
    }
    assert read == {day_name("runs", days[1])}, plan


async def test_cleanups_at_the_same_moment_store_a_day_once(prepared: Container, sql: Sql, old: date) -> None:
    add_any_runs(sql, old, 50, random.Random(1))
    before = sql.execute(VIEW).fetchall()
    dropped = await asyncio.gather(*(TableScheduler.cleanup_old_tables() for _ in range(4)))
    assert sorted(name for names in dropped for name in names) == [day_name("attempts", old), day_name("runs", old)]
    assert sql.execute(VIEW).fetchall() == before


async def test_an_auditor_needs_rights_on_the_views_alone(prepared: Container, sql: Sql, old: date) -> None:
    add_run(sql, noon(old))
    sql.execute("CREATE ROLE only_reads")
    try:
        sql.execute("GRANT USAGE ON SCHEMA scheduler_audit TO only_reads")
        sql.execute("GRANT SELECT ON ALL TABLES IN SCHEMA scheduler_audit TO only_reads")
        sql.execute("SET ROLE only_reads")
        assert [row[0] for row in sql.execute(VIEW)] == [old]
        assert one(sql, "SELECT count(*) FROM scheduler_audit.table_families WHERE days_left = 3") == 2
    finally:
        sql.execute("RESET ROLE")
        sql.execute("DROP OWNED BY only_reads; DROP ROLE only_reads")


# What was dropped can't be made up for.


async def test_a_backfill_into_days_that_were_dropped_is_refused(
    prepared: Container, sql: Sql, old: date, database_url: str, redis_url: str
) -> None:
    """`history_days` was raised since: what ran on those days would run again."""
    add_run(sql, noon(old))
    await TableScheduler.cleanup_old_tables()
    await prepared.get_operations().declare([ScheduleJob("j", "J", "cron", "0 * * * *", print).definition("UTC")])
    with pytest.raises(InvalidJobError, match="history_days"):
        await prepared.get_run_operations().preview_backfill("j", noon(old), noon(old))
    longer = Container(
        load_settings(database_url=database_url, redis_url=redis_url, timezone="UTC", history_days=HISTORY_DAYS + 10)
    )
    try:
        operations = longer.get_run_operations()
        with pytest.raises(InvalidJobError, match="were dropped"):
            await operations.preview_backfill("j", noon(old), noon(old))
        after = noon(old) + timedelta(hours=12)
        assert (await operations.preview_backfill("j", after, after + timedelta(hours=1))).count == 2
    finally:
        await longer.close()


async def test_history_that_can_not_be_created_does_not_keep_families_from_theirs(
    prepared: Container, sql: Sql
) -> None:
    TableScheduler.register(TableFamily("log", columns={"n": "int"}, days_ahead=0))
    sql.execute("DROP TABLE scheduler.attempts CASCADE")
    try:
        with pytest.raises(SchedulerError, match="attempts"):
            await TableScheduler.create_daily_tables()
    finally:
        TableScheduler.unregister("log")
    assert one(sql, "SELECT count(*) FROM pg_class WHERE starts_with(relname, 'log_2')") == 1


async def test_a_question_about_one_job_reads_its_rows_by_key(prepared: Container, sql: Sql) -> None:
    for n in range(2_000):
        add_run(sql, noon(today(sql)) + timedelta(seconds=n), job_id=f"j{n % 500}")
    sql.execute("ANALYZE scheduler.runs")
    plan = "\n".join(
        line for (line,) in sql.execute("EXPLAIN SELECT * FROM scheduler_audit.daily_summary WHERE job_id = 'j7'")
    )
    assert f"Index Scan using {day_name('runs', today(sql))}_job_id_scheduled_for_key" in plan, plan

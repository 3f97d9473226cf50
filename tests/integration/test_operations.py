"""Declaring and changing jobs while they fire: nothing is swallowed, nothing reverted, nothing un-paused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, InvalidJobError, JobNotFoundError, ScheduleJob, load_settings
from scheduler_core.domain.audit_filter import AuditFilter

Sql = psycopg.Connection[Any]

INTERVAL_SECONDS = 0.2

COVERED = """
SELECT coalesce(missed_from, scheduled_for), scheduled_for, status, reason FROM scheduler_audit.runs
WHERE job_id = 'j' AND origin = 'schedule' ORDER BY scheduled_for
"""


async def work() -> None: ...


def job(seconds: float = INTERVAL_SECONDS, **policies: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "interval", seconds, work, **policies)


def cursor(sql: Sql) -> tuple[datetime, datetime | None]:
    row = sql.execute("SELECT anchor, next_run FROM scheduler.jobs WHERE job_id = 'j'").fetchone()
    assert row is not None
    return row  # type: ignore[return-value]


def unaccounted(sql: Sql, anchor: datetime, until: datetime) -> list[datetime]:
    """The instants of the interval from the anchor up to `until` that no row covers; arithmetic of its own."""
    rows = sql.execute(COVERED).fetchall()
    step = timedelta(seconds=INTERVAL_SECONDS)
    instant, missing = anchor + step, []
    while instant < until:
        if not any(first <= instant <= last for first, last, _, _ in rows):
            missing.append(instant)
        instant += step
    return missing


async def has_run(sql: Sql, more_than: int = 0) -> None:
    async def ask() -> bool:
        row = sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'").fetchone()
        return row is not None and row[0] > more_than

    await eventually_async(ask)


@asynccontextmanager
async def replica(database_url: str, redis_url: str) -> AsyncIterator[Container]:
    made = Container(load_settings(database_url=database_url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0))
    try:
        await made.start()
        yield made
    finally:
        await made.close()


async def test_four_replicas_add_the_same_fifty_jobs_at_the_same_moment(
    database_url: str, redis_url: str, sql: Sql
) -> None:
    """apscheduler #160, celery #251: every web worker fires the job."""
    jobs = [ScheduleJob(f"job-{n}", "J", "interval", 3600 + n, work) for n in range(50)]
    async with (
        replica(database_url, redis_url) as a,
        replica(database_url, redis_url) as b,
        replica(database_url, redis_url) as c,
        replica(database_url, redis_url) as d,
    ):
        await a.get_scheduler().add_jobs(jobs)
        before = sql.execute("SELECT job_id, next_run, anchor, version FROM scheduler.jobs ORDER BY 1").fetchall()
        await asyncio.gather(*(r.get_scheduler().add_jobs(jobs) for r in (a, b, c, d)))
        after = sql.execute("SELECT job_id, next_run, anchor, version FROM scheduler.jobs ORDER BY 1").fetchall()
    assert len(before) == 50
    assert after == before


async def test_four_replicas_add_fifty_new_jobs_at_once(database_url: str, redis_url: str, sql: Sql) -> None:
    jobs = [ScheduleJob(f"job-{n}", "J", "interval", 3600, work) for n in range(50)]
    async with (
        replica(database_url, redis_url) as a,
        replica(database_url, redis_url) as b,
        replica(database_url, redis_url) as c,
        replica(database_url, redis_url) as d,
    ):
        await asyncio.gather(*(r.get_scheduler().add_jobs(jobs) for r in (a, b, c, d)))
    assert sql.execute("SELECT count(*), max(version) FROM scheduler.jobs").fetchone() == (50, 1)


async def test_adding_an_unchanged_job_again_and_again_disturbs_no_fire(
    database_url: str, redis_url: str, sql: Sql
) -> None:
    """river #791, redbeat #151: a restart forgets where the schedule stood."""
    async with replica(database_url, redis_url) as a, replica(database_url, redis_url) as b:
        await a.get_scheduler().add_job(job())
        await has_run(sql)
        anchor, _ = cursor(sql)
        for _ in range(20):
            await asyncio.gather(a.get_scheduler().add_job(job()), b.get_scheduler().add_job(job()))
        await has_run(sql, 10)
        again, position = cursor(sql)
    assert again == anchor
    assert position is not None
    assert unaccounted(sql, anchor, position) == []
    assert {status for _, _, status, _ in sql.execute(COVERED).fetchall()} <= {"succeeded", "pending"}


@pytest.mark.parametrize("verb", ["pause", "edit", "disable", "remove"])
async def test_a_change_while_ticks_are_due_leaves_nothing_unaccounted(
    database_url: str, redis_url: str, sql: Sql, verb: str
) -> None:
    async with replica(database_url, redis_url) as r:
        scheduler = r.get_scheduler()
        await scheduler.add_job(job())
        await has_run(sql, 2)
        anchor, _ = cursor(sql)
        match verb:
            case "pause":
                await scheduler.operations.pause("j", note="why", by="a test")
            case "edit":
                await scheduler.add_job(job(7200.0))
            case "disable":
                await scheduler.add_job(job(enabled=False))
            case _:
                await scheduler.remove_job("j")
        changed_at = sql.execute("SELECT clock_timestamp()").fetchone()[0]  # type: ignore[index]
    late = timedelta(milliseconds=100)
    assert unaccounted(sql, anchor, changed_at - late) == []
    fires = [first for first, _, status, _ in sql.execute(COVERED).fetchall() if status == "succeeded"]
    assert len(fires) == len(set(fires))


async def test_an_edit_keeps_an_intervals_instants_and_what_waits_for_its_jitter(
    database_url: str, redis_url: str, sql: Sql
) -> None:
    """Edited all the while, twice as often as it fires; `audit gaps` says the same by its own arithmetic."""
    async with replica(database_url, redis_url) as r:
        scheduler = r.get_scheduler()
        await scheduler.add_job(job(1.0, jitter=0.9))
        anchor, _ = cursor(sql)
        end = anchor + timedelta(days=1)
        for number in range(12):
            await asyncio.sleep(0.4)
            # Code's own declarations; each is another definition than the one before.
            await scheduler.add_job(job(1.0, jitter=0.9, end_at=end + timedelta(seconds=number)))
        again, _ = cursor(sql)
        await has_run(sql, 3)
        gaps = await r.get_auditor().gaps(AuditFilter())
    assert again == anchor
    rows = sql.execute("SELECT scheduled_for, status, missed_count FROM scheduler_audit.runs ORDER BY 1").fetchall()
    instants = [at for at, _, _ in rows]
    assert instants == [anchor + timedelta(seconds=k) for k in range(1, len(rows) + 1)]
    assert {status for _, status, _ in rows} <= {"succeeded", "pending"}
    assert gaps.is_clean


async def test_ticks_of_a_pause_are_counted_and_it_survives_a_redeploy(
    database_url: str, redis_url: str, sql: Sql
) -> None:
    async with replica(database_url, redis_url) as r:
        await r.get_scheduler().add_job(job())
        await has_run(sql)
        anchor, _ = cursor(sql)
        await r.get_scheduler().operations.pause("j")
    async with replica(database_url, redis_url) as r:
        scheduler = r.get_scheduler()
        await scheduler.add_job(job())
        assert sql.execute("SELECT paused_at IS NOT NULL FROM scheduler.jobs").fetchone() == (True,)
        fired = sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'").fetchone()
        await asyncio.sleep(3 * INTERVAL_SECONDS)
        assert sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'").fetchone() == fired
        await scheduler.operations.resume("j")
        await has_run(sql, fired[0] if fired else 0)
        _, position = cursor(sql)
    assert position is not None
    assert unaccounted(sql, anchor, position) == []
    assert "paused" in {reason for _, _, _, reason in sql.execute(COVERED).fetchall()}


async def test_a_pause_ends_by_itself(database_url: str, redis_url: str, sql: Sql) -> None:
    async with replica(database_url, redis_url) as r:
        scheduler = r.get_scheduler()
        await scheduler.add_job(job())
        now = sql.execute("SELECT clock_timestamp()").fetchone()[0]  # type: ignore[index]
        await scheduler.operations.pause("j", until=now + timedelta(seconds=0.7))
        await has_run(sql)
        anchor, position = cursor(sql)
    assert position is not None
    assert unaccounted(sql, anchor, position) == []
    with pytest.raises(InvalidJobError, match="past"):
        async with replica(database_url, redis_url) as r:
            await r.get_scheduler().operations.pause("j", until=now)


async def test_a_removed_job_that_is_added_again_begins_anew(database_url: str, redis_url: str, sql: Sql) -> None:
    async with replica(database_url, redis_url) as r:
        scheduler = r.get_scheduler()
        await scheduler.add_job(job())
        await has_run(sql)
        await scheduler.remove_job("j")
        with pytest.raises(JobNotFoundError):
            await scheduler.remove_job("j")
        before: int = sql.execute("SELECT count(*) FROM scheduler_audit.runs").fetchone()[0]  # type: ignore[index]
        await scheduler.add_job(job())
        await has_run(sql, before)
        # It goes on firing: both numbers of one statement are of one instant.
        counted, recorded = sql.execute(
            "SELECT run_count, (SELECT count(*) FROM scheduler_audit.runs) FROM scheduler.jobs"
        ).fetchone()  # type: ignore[misc]
        assert counted <= recorded - before


async def test_a_once_of_now_is_run_once_however_often_it_is_added(database_url: str, redis_url: str, sql: Sql) -> None:
    async with replica(database_url, redis_url) as r:
        for _ in range(3):
            await r.get_scheduler().add_job(ScheduleJob("j", "J", "once", None, work))
            await has_run(sql)
    async with replica(database_url, redis_url) as r:
        await r.get_scheduler().add_job(ScheduleJob("j", "J", "once", None, work))
    assert sql.execute("SELECT count(*) FROM scheduler_audit.runs").fetchone() == (1,)


async def test_an_older_replica_does_not_revert_a_newer_definition(database_url: str, redis_url: str, sql: Sql) -> None:
    def interval() -> Any:
        return sql.execute("SELECT schedule_value FROM scheduler.jobs").fetchone()[0]  # type: ignore[index]

    async with replica(database_url, redis_url) as old, replica(database_url, redis_url) as new:
        await old.get_scheduler().add_job(job(100))
        await new.get_scheduler().add_job(job(200))
        assert interval() == 200
        await old.get_scheduler().add_job(job(100))
        assert interval() == 200, "an old replica says again what it said before: no news"
        await old.get_scheduler().add_job(job(300))
        assert interval() == 300, "what it says anew is meant"
        async with replica(database_url, redis_url) as newest:
            await newest.get_scheduler().add_job(job(200))
            assert interval() == 200


async def test_an_edit_that_keeps_the_schedule_keeps_the_cursor(database_url: str, redis_url: str, sql: Sql) -> None:
    async with replica(database_url, redis_url) as r:
        await r.get_scheduler().add_job(job(3600))
        before = cursor(sql)
        await r.get_scheduler().add_job(job(3600, max_retries=9, tags=["new"]))
        assert cursor(sql) == before
        assert sql.execute("SELECT max_retries, version FROM scheduler.jobs").fetchone() == (9, 2)
        await r.get_scheduler().add_job(job(1800))
        assert cursor(sql) != before


async def test_one_id_for_two_kinds_of_job_is_a_name_clash(database_url: str, redis_url: str, sql: Sql) -> None:
    other = ScheduleJob("j", "J", "cron", "0 0 * * *", work)
    async with replica(database_url, redis_url) as r:
        scheduler = r.get_scheduler()
        with pytest.raises(InvalidJobError, match="twice"):
            await scheduler.add_jobs([job(), job(5)])
        assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)
        await scheduler.add_job(job(3600))
        with pytest.raises(InvalidJobError, match="another id"):
            await scheduler.add_jobs([ScheduleJob("k", "K", "interval", 5, work), other])
        assert sql.execute("SELECT job_id, schedule_type FROM scheduler.jobs").fetchall() == [("j", "interval")]

"""Backfill and rerun: what a preview shows is what is made, once, in order, beside the schedule."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import (
    InvalidJobError,
    JobNotFoundError,
    RunContext,
    RunNotFoundError,
    RunStateError,
    ScheduleJob,
)
from scheduler_core.engine.scheduler import BaseScheduler

Sql = psycopg.Connection[Any]

HOUR = timedelta(hours=1)


def hourly(callback: Any = lambda: None, **policies: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "cron", "0 * * * *", callback, **policies)


def hour_before(hours: int) -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - hours * HOUR


def rows(sql: Sql) -> list[Any]:
    return sql.execute(
        "SELECT scheduled_for, origin, status FROM scheduler_audit.runs WHERE job_id = 'j' ORDER BY scheduled_for"
    ).fetchall()


async def ended(sql: Sql, count: int) -> None:
    async def ask() -> bool:
        found = sql.execute(
            "SELECT count(*) FROM scheduler_audit.runs WHERE origin = 'backfill' AND status = 'succeeded'"
        ).fetchone()
        return found == (count,)

    await eventually_async(ask, what=f"{count} backfilled runs")


async def test_a_preview_is_what_is_made_and_it_executes_in_order(scheduler: BaseScheduler, sql: Sql) -> None:
    order: list[datetime] = []
    busy = 0

    async def work(ctx: RunContext) -> None:
        nonlocal busy
        assert busy == 0, "one at a time"
        busy += 1
        order.append(ctx.scheduled_for)
        await asyncio.sleep(0)
        busy -= 1

    await scheduler.add_job(hourly(work))
    # Beyond the days that have partitions, and more than one batch of adoption.
    start, end = hour_before(29 * 24), hour_before(2)
    preview = await scheduler.run_operations.preview_backfill("j", start, end)
    assert rows(sql) == [], "a preview makes nothing"
    expected = [start + n * HOUR for n in range(29 * 24 - 1)]
    assert list(preview.to_make) == expected
    assert preview.existing == ()
    assert await scheduler.run_operations.backfill("j", start, end) == preview
    await ended(sql, len(expected))
    assert [instant for instant, _, _ in rows(sql)] == expected
    assert {(origin, status) for _, origin, status in rows(sql)} == {("backfill", "succeeded")}
    assert order == expected
    again = await scheduler.run_operations.backfill("j", start, end)
    assert again.to_make == ()
    assert [instant for instant, _ in again.existing] == expected
    assert len(order) == len(expected), "asking twice makes nothing twice"
    assert not scheduler.running.executor.gate._lanes  # type: ignore[attr-defined]
    assert not scheduler.running.in_flight._backfills


async def test_what_has_a_run_is_left_alone_and_what_was_only_counted_is_made(
    scheduler: BaseScheduler, sql: Sql
) -> None:
    await scheduler.add_job(hourly())
    insert = """
        INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, reason,
                                    definition_version, missed_count, missed_from, finished_at)
        VALUES (gen_random_uuid(), 'j', 'J', %(at)s, %(at)s, 'schedule', %(status)s, %(reason)s, 1, %(count)s,
                %(first)s, now())
    """
    fired = {"at": hour_before(8), "status": "failed", "reason": None, "count": None, "first": None}
    counted = {"at": hour_before(4), "status": "missed", "reason": "misfire", "count": 3, "first": hour_before(6)}
    alone = {"at": hour_before(3), "status": "missed", "reason": "paused", "count": 1, "first": hour_before(3)}
    await scheduler.run_operations.storage.requests.backfill("j", 1, [hour_before(9)])
    for row in (fired, counted, alone):
        sql.execute(insert, row)
    await ended(sql, 1)
    done = await scheduler.run_operations.backfill("j", hour_before(9), hour_before(3))
    assert list(done.to_make) == [hour_before(n) for n in (7, 6, 5, 4, 3)]
    assert dict(done.existing) == {hour_before(9): "succeeded", hour_before(8): "failed"}
    await ended(sql, 6)
    kept = sql.execute(
        "SELECT scheduled_for, missed_count, missed_from FROM scheduler_audit.runs WHERE missed_count IS NOT NULL"
    ).fetchall()
    assert kept == [(hour_before(4), 3, hour_before(6))], "the count of the others is not lost"


async def test_runs_that_may_overlap_are_backfilled_side_by_side(scheduler: BaseScheduler, sql: Sql) -> None:
    together = asyncio.Barrier(5)

    async def work() -> None:
        await together.wait()

    await scheduler.add_job(hourly(work, overlap="allow"))
    await scheduler.run_operations.backfill("j", hour_before(6), hour_before(2))
    await ended(sql, 5)


async def test_a_backfill_does_not_swallow_what_the_schedule_fires(scheduler: BaseScheduler, sql: Sql) -> None:
    """A backfill that takes longer than the schedule's step: what is due waits for one run and not for all."""
    release = asyncio.Event()
    scheduled: list[datetime] = []

    async def work(ctx: RunContext) -> None:
        if ctx.scheduled_for < base:
            await release.wait()
        else:
            scheduled.append(ctx.scheduled_for)

    base = datetime.now(UTC)
    await scheduler.add_job(ScheduleJob("j", "J", "cron", "* * * * * *", work))
    start = base.replace(microsecond=0) - timedelta(seconds=100)
    await scheduler.run_operations.backfill("j", start, start + timedelta(seconds=20))

    async def one_waits() -> bool:
        return any(origin == "schedule" and status == "queued" for _, origin, status in rows(sql))

    await eventually_async(one_waits, what="a fire that waits for the backfilled run")
    release.set()
    await eventually_async(lambda: bool(scheduled))
    await ended(sql, 21)


@pytest.mark.parametrize(
    ("start", "end", "limit", "says"),
    [
        (timedelta(hours=-3), timedelta(hours=3), 100, "future"),
        (timedelta(days=-31), timedelta(days=-30), 100, "history_days"),
        (timedelta(hours=-3), timedelta(hours=-4), 100, "later than"),
        (timedelta(hours=-9), timedelta(hours=-1), 5, "holds 8 occurrences"),
    ],
)
async def test_what_can_not_be_backfilled_says_why(
    scheduler: BaseScheduler, sql: Sql, start: timedelta, end: timedelta, limit: int, says: str
) -> None:
    await scheduler.add_job(hourly())
    now = datetime.now(UTC)
    for verb in (scheduler.run_operations.preview_backfill, scheduler.run_operations.backfill):
        with pytest.raises(InvalidJobError, match=says):
            await verb("j", now + start, now + end, limit=limit)
    with pytest.raises(InvalidJobError, match="time zone"):
        await scheduler.run_operations.backfill("j", datetime(2026, 1, 1), now)  # noqa: DTZ001
    with pytest.raises(JobNotFoundError):
        await scheduler.run_operations.backfill("nothing", now - HOUR, now)
    assert rows(sql) == []


async def test_a_finished_run_runs_again_and_the_new_one_names_it(scheduler: BaseScheduler, sql: Sql) -> None:
    release = asyncio.Event()

    async def work() -> None:
        await release.wait()
        if not sql.execute("SELECT count(*) > 1 FROM scheduler_audit.runs").fetchone()[0]:  # type: ignore[index]
            raise ValueError("the first time")

    await scheduler.add_job(ScheduleJob("j", "J", "once", "2099-01-01T00:00:00+00:00", work, max_retries=0))
    old = await scheduler.operations.trigger("j")
    with pytest.raises(RunStateError, match="only a run that has ended"):
        await scheduler.run_operations.rerun(old.run_id)
    release.set()
    await status_of(sql, old.run_id, "failed")
    new = await scheduler.run_operations.rerun(old.run_id)
    await status_of(sql, new.run_id, "succeeded")
    found = sql.execute(
        "SELECT origin, rerun_of, scheduled_for FROM scheduler_audit.runs WHERE run_id = %s", [new.run_id]
    ).fetchone()
    assert found == ("rerun", old.run_id, new.scheduled_for)
    with pytest.raises(RunNotFoundError):
        await scheduler.run_operations.rerun(uuid4())
    await scheduler.remove_job("j")
    with pytest.raises(JobNotFoundError, match="removed"):
        await scheduler.run_operations.rerun(old.run_id)


async def status_of(sql: Sql, run_id: UUID, status: str) -> None:
    async def ask() -> bool:
        found = sql.execute("SELECT status FROM scheduler_audit.runs WHERE run_id = %s", [run_id]).fetchone()
        return found == (status,)

    await eventually_async(ask, what=status)

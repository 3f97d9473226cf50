"""One replica in this process, on real servers: what happens to a run, seen as a user sees it, in SQL."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, JobNotFoundError, LockService, RunContext, ScheduleJob
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.runs import Owner
from scheduler_core.storage.fire.runs import RunStore

Sql = psycopg.Connection[Any]


async def run_row(sql: Sql, job_id: str, *statuses: str, within_seconds: float = 15.0) -> dict[str, Any]:
    """The job's first run that is in one of these states."""

    async def ask() -> dict[str, Any] | None:
        cursor = sql.execute(
            "SELECT * FROM scheduler_audit.runs WHERE job_id = %s AND status = ANY(%s) ORDER BY scheduled_for",
            [job_id, list(statuses)],
        )
        row = cursor.fetchone()
        names = [column.name for column in cursor.description or ()]
        return dict(zip(names, row, strict=True)) if row else None

    found = await eventually_async(ask, within_seconds=within_seconds, what=f"{job_id} {statuses}")
    assert found is not None
    return found


def once(job_id: str, callback: Any, **policies: Any) -> ScheduleJob:
    return ScheduleJob(job_id, job_id, "once", None, callback, **policies)


def job_row(sql: Sql, job_id: str) -> Any:
    return sql.execute(
        "SELECT run_count, error_count, consecutive_failures, enabled FROM scheduler_audit.jobs WHERE job_id = %s",
        [job_id],
    ).fetchone()


async def test_a_run_that_succeeds_at_once_is_one_row(scheduler: BaseScheduler, sql: Sql) -> None:
    seen: list[RunContext] = []

    async def work(ctx: RunContext, a: int, b: str) -> None:
        seen.append(ctx)
        assert (a, b) == (1, "x")
        assert ctx.still_owner()

    await scheduler.add_job(once("j", work, args=[1], kwargs={"b": "x"}, timeout=30))
    row = await run_row(sql, "j", "succeeded")
    assert row["attempts"] == 1
    assert row["run_id"] == seen[0].run_id
    assert seen[0].deadline is not None
    assert sql.execute("SELECT count(*) FROM scheduler.attempts").fetchone() == (0,)
    assert sql.execute("SELECT attempt, outcome FROM scheduler_audit.attempts").fetchall() == [(1, "succeeded")]
    assert job_row(sql, "j") == (1, 0, 0, False), "a ONCE stays, disabled, with its history"


async def test_a_job_that_always_fails_makes_four_attempts_with_growing_waits(
    scheduler: BaseScheduler, sql: Sql
) -> None:
    def work() -> None:
        raise ValueError("always")

    await scheduler.add_job(once("j", work, max_retries=3, retry_delay=0.1))
    row = await run_row(sql, "j", "failed")
    assert row["attempts"] == 4
    assert row["error"] == "ValueError: always"
    attempts = sql.execute(
        "SELECT attempt, outcome, started_at, finished_at FROM scheduler_audit.attempts ORDER BY attempt"
    ).fetchall()
    assert [(number, outcome) for number, outcome, _, _ in attempts] == [(n, "failed") for n in (1, 2, 3, 4)]
    waits = [(attempts[n + 1][2] - attempts[n][3]).total_seconds() for n in range(3)]
    # A busy machine may add to each; none may be shorter.
    assert [wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)] == [True] * 3
    assert job_row(sql, "j") == (1, 4, 1, False)
    assert "always" in sql.execute("SELECT traceback FROM scheduler.attempts LIMIT 1").fetchone()[0]  # type: ignore[index]


async def test_a_retry_that_succeeds_ends_the_run_well(scheduler: BaseScheduler, sql: Sql) -> None:
    async def work(ctx: RunContext) -> None:
        if ctx.attempt < 3:
            raise ConnectionError("not yet")

    await scheduler.add_job(once("j", work, retry_delay=0.05))
    row = await run_row(sql, "j", "succeeded")
    assert (row["attempts"], row["error"]) == (3, None)
    assert job_row(sql, "j")[:3] == (1, 2, 0)


async def test_the_wait_before_a_retry_is_in_the_database(scheduler: BaseScheduler, sql: Sql) -> None:
    """So that a successor goes on counting and waiting where a dead leader stopped."""

    async def work() -> None:
        raise ValueError("no")

    await scheduler.add_job(once("j", work, max_retries=1, retry_delay=30))
    await run_row(sql, "j", "retrying")
    attempt, wait = sql.execute(  # type: ignore[misc]
        """
        SELECT r.attempt, r.next_attempt_at - a.finished_at
        FROM scheduler.runs r JOIN scheduler.attempts a USING (run_id)
        """
    ).fetchone()
    assert attempt == 1
    assert timedelta(seconds=29) < wait < timedelta(seconds=40)


async def test_sync_callbacks_run_in_threads_beside_each_other(scheduler: BaseScheduler, sql: Sql) -> None:
    together = threading.Barrier(3, timeout=10)
    await scheduler.add_jobs([once(f"j{n}", lambda: together.wait() and None) for n in range(3)])
    for n in range(3):
        await run_row(sql, f"j{n}", "succeeded")


async def test_a_timeout_is_a_failed_attempt(scheduler: BaseScheduler, sql: Sql) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    await scheduler.add_job(once("j", work, timeout=0.1, max_retries=0))
    row = await run_row(sql, "j", "failed")
    assert "timeout" in row["error"]
    assert sql.execute("SELECT outcome FROM scheduler_audit.attempts").fetchall() == [("timeout",)]


async def test_a_sync_timeout_starts_no_second_attempt_beside_the_first(scheduler: BaseScheduler, sql: Sql) -> None:
    release, running, overlaps = threading.Event(), threading.Lock(), []

    def work() -> None:
        if not running.acquire(blocking=False):
            overlaps.append(1)
            return
        release.wait(1.0)
        running.release()

    await scheduler.add_job(once("j", work, timeout=0.1, max_retries=1, retry_delay=0.05))
    row = await run_row(sql, "j", "failed")
    assert overlaps == []
    assert row["attempts"] == 2
    release.set()


async def test_what_a_callback_raises_is_stored_whatever_it_is(scheduler: BaseScheduler, sql: Sql) -> None:
    class NastyError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("even this")

    def nul() -> None:
        raise ValueError("a\x00b \ud800 " + "long " * 5_000)

    def nasty() -> None:
        raise NastyError

    def leave() -> None:
        raise SystemExit(3)

    def stop() -> None:
        raise StopIteration

    callbacks = {"nul": nul, "nasty": nasty, "leave": leave, "stop": stop}
    await scheduler.add_jobs([once(name, callback, max_retries=0) for name, callback in callbacks.items()])
    for name in callbacks:
        await run_row(sql, name, "failed")


@pytest.mark.parametrize(("overlap", "expected"), [("skip", "skipped"), ("queue", "queued"), ("allow", "running")])
async def test_overlap_is_decided_at_the_start(scheduler: BaseScheduler, sql: Sql, overlap: str, expected: str) -> None:
    release = asyncio.Event()
    await scheduler.add_job(ScheduleJob("j", "J", "interval", 0.5, release.wait, overlap=overlap))
    await run_row(sql, "j", "running")
    await eventually_async(
        lambda: (
            sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE status = %s", [expected]).fetchone()[0]  # type: ignore[index]
            >= (2 if expected == "running" else 1)
        )
    )
    if expected == "skipped":
        assert (await run_row(sql, "j", "skipped"))["reason"] == "overlap"
    release.set()
    await run_row(sql, "j", "succeeded")


async def test_queued_runs_execute_in_order_one_at_a_time(scheduler: BaseScheduler, sql: Sql) -> None:
    order: list[datetime] = []
    busy = 0

    async def work(ctx: RunContext) -> None:
        nonlocal busy
        assert busy == 0
        busy += 1
        order.append(ctx.scheduled_for)
        await asyncio.sleep(0.3)
        busy -= 1

    await scheduler.add_job(ScheduleJob("j", "J", "interval", 0.1, work, overlap="queue"))
    await eventually_async(lambda: len(order) >= 4)
    assert order == sorted(order)
    assert len(set(order)) == len(order)


async def test_at_most_once_is_marked_before_its_callback(scheduler: BaseScheduler, sql: Sql) -> None:
    status: list[Any] = []

    def work() -> None:
        status.append(sql.execute("SELECT status FROM scheduler_audit.runs WHERE job_id = 'j'").fetchone())

    await scheduler.add_job(once("j", work, delivery="at_most_once"))
    await run_row(sql, "j", "succeeded")
    assert status == [("running",)]


async def test_a_lock_held_elsewhere_skips_the_run(scheduler: BaseScheduler, container: Container, sql: Sql) -> None:
    locks = container.get_lock_service()
    assert isinstance(locks, LockService)
    key = sql.info.dbname
    async with locks.hold(key, 5):
        await scheduler.add_job(once("held", lambda: None, use_distributed_lock=True, lock_key=key))
        assert (await run_row(sql, "held", "skipped"))["reason"] == "locked"
    await scheduler.add_job(once("free", lambda: None, use_distributed_lock=True, lock_key=key))
    await run_row(sql, "free", "succeeded")
    assert await locks.acquire(key, 1) is not None, "the lock was given back"


async def test_a_triggered_run_executes_at_once_beside_the_schedule(scheduler: BaseScheduler, sql: Sql) -> None:
    await scheduler.add_job(ScheduleJob("j", "J", "interval", 3600, lambda: None))
    run = await scheduler.operations.trigger("j")
    row = await run_row(sql, "j", "succeeded")
    assert (row["run_id"], row["origin"]) == (run.run_id, "trigger")
    assert row["lateness"] < timedelta(seconds=1)
    with pytest.raises(JobNotFoundError, match="nothing"):
        await scheduler.operations.trigger("nothing")


async def test_repeated_failures_disable_a_job_until_it_is_resumed(scheduler: BaseScheduler, sql: Sql) -> None:
    def work() -> None:
        raise ValueError("no")

    job = ScheduleJob("j", "J", "interval", 0.2, work, max_retries=0, disable_after=3)
    await scheduler.add_job(job)
    await eventually_async(lambda: job_row(sql, "j")[3] is False)
    assert job_row(sql, "j")[2] == 3
    await scheduler.add_job(job)
    assert job_row(sql, "j")[3] is False, "adding it again does not enable it"
    await scheduler.operations.resume("j")
    assert job_row(sql, "j")[2:] == (0, True)


async def test_a_row_that_somebody_spoilt_stops_nobody_else(scheduler: BaseScheduler, sql: Sql) -> None:
    """quartz #145, stuck until someone edits SQL."""
    await scheduler.add_jobs([ScheduleJob(name, name, "interval", 0.2, lambda: None) for name in ("bad", "good")])
    sql.execute("UPDATE scheduler.jobs SET timezone = 'Mars/Olympus', version = version + 1 WHERE job_id = 'bad'")
    count = sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE job_id = 'good'").fetchone()[0]  # type: ignore[index]
    await eventually_async(
        lambda: sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE job_id = 'good'").fetchone()[0] > count + 3  # type: ignore[index]
    )


async def test_a_job_that_nobody_can_call_waits_and_says_so(scheduler: BaseScheduler, sql: Sql) -> None:
    """river #342, sidekiq #4078: jobs declared elsewhere vanish when another service leads."""
    await scheduler.operations.declare([once("j", "elsewhere.jobs:work").definition("UTC")])
    row = await run_row(sql, "j", "pending")
    assert row["reason"] == "no_callback"


async def test_the_known_status_follows_the_database(scheduler: BaseScheduler) -> None:
    def work() -> None:
        raise ValueError("seen")

    await scheduler.add_job(once("j", work, max_retries=0))
    assert scheduler.get_job_status("unknown") is None
    status = await eventually_async(lambda: _status_with(scheduler, "j"), what="a status that knows of the failure")
    assert (status.run_count, status.error_count, status.last_status) == (1, 1, "failed")
    assert status.last_error == "ValueError: seen"
    assert status.enabled is False
    assert set(scheduler.get_all_jobs_status()) == {"j"}


async def _status_with(scheduler: BaseScheduler, job_id: str) -> Any:
    status = scheduler.get_job_status(job_id)
    return status if status is not None and status.run_count else None


async def test_stopping_and_starting_again_loses_nothing(container: Container, sql: Sql) -> None:
    scheduler = await container.start([ScheduleJob("j", "J", "interval", 0.1, lambda: None)])
    await run_row(sql, "j", "succeeded")
    await scheduler.stop()
    await scheduler.stop()
    assert not scheduler.is_running
    before = sql.execute("SELECT count(*) FROM scheduler_audit.runs").fetchone()[0]  # type: ignore[index]
    await scheduler.start()
    await scheduler.start()
    await eventually_async(
        lambda: sql.execute("SELECT count(*) FROM scheduler_audit.runs").fetchone()[0] > before + 3  # type: ignore[index]
    )


async def test_a_second_start_declares_what_was_declared_before(container: Container, sql: Sql) -> None:
    scheduler = await container.start([once("before", lambda: None)])
    await scheduler.add_jobs([ScheduleJob(name, "J", "interval", 3600, lambda: None) for name in ("kept", "dropped")])
    await scheduler.stop()
    sql.execute("DELETE FROM scheduler.jobs")
    await scheduler.remove_job("dropped")
    await scheduler.add_job(ScheduleJob("kept", "J", "interval", 1800, lambda: None))
    await scheduler.start()
    stored = sql.execute("SELECT job_id, schedule_value FROM scheduler.jobs ORDER BY 1").fetchall()
    assert stored == [("before", None), ("kept", 1800)]


async def test_jobs_that_are_added_while_the_start_is_under_way_are_stored(container: Container, sql: Sql) -> None:
    scheduler = container.get_scheduler()
    await container.prepare()
    starting, adding = asyncio.create_task(scheduler.start()), []
    while not starting.done():
        job = ScheduleJob(f"j-{len(adding)}", "J", "interval", 3600, str)
        adding.append(asyncio.create_task(scheduler.add_job(job)))
        await asyncio.wait([starting], timeout=0.005)
    await asyncio.gather(starting, *adding)
    assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (len(adding),)


async def test_a_stop_waits_for_what_runs(container: Container, sql: Sql) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        await release.wait()

    scheduler = await container.start([once("j", work)])
    await asyncio.wait_for(started.wait(), 15)
    stopping = asyncio.create_task(scheduler.stop())
    await eventually_async(lambda: sql.execute("SELECT nonce FROM scheduler.leader").fetchone() == (None,))
    assert not stopping.done(), "leadership is given up before running work has ended"
    release.set()
    await stopping
    assert (await run_row(sql, "j", "succeeded"))["attempts"] == 1


async def test_a_stop_waits_for_no_survey(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that waits to know what is running elsewhere goes back when its replica leads no more."""

    async def never(_store: RunStore) -> list[Owner]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(RunStore, "owners", never)
    scheduler = await container.start([ScheduleJob("j", "J", "interval", 0.2, lambda: None)])
    due = "SELECT count(*) FROM scheduler.runs WHERE instance_id IS NOT NULL AND due_at < now() - interval '1 s'"
    await eventually_async(lambda: sql.execute(due).fetchone() != (0,))
    await scheduler.stop()
    assert "within the drain timeout" not in caplog.text
    assert sql.execute(due).fetchone() == (0,), "all went back"
    assert sql.execute("SELECT DISTINCT status, reason FROM scheduler.runs").fetchall() == [("pending", None)]


async def test_no_fire_is_early(scheduler: BaseScheduler, sql: Sql) -> None:
    """Runs are claimed ahead of their instant, and timers count in whole milliseconds."""
    await scheduler.add_job(ScheduleJob("j", "J", "interval", 0.25, lambda: None, start_at=datetime.now(UTC)))
    await eventually_async(
        lambda: sql.execute("SELECT count(*) FROM scheduler_audit.runs").fetchone()[0] >= 6  # type: ignore[index]
    )
    earliest = sql.execute("SELECT min(lateness) FROM scheduler_audit.runs").fetchone()
    assert earliest is not None
    assert timedelta(0) <= earliest[0]


async def test_a_trust_window_that_lapses_for_a_moment_ends_no_recovery(scheduler: BaseScheduler, sql: Sql) -> None:
    """A beat came late, on a busy machine: whoever looked in between must look again. Triggers come by recovery."""
    running = scheduler.running
    trusted = running.trust._trust
    running.trust.extend(0.0)
    running._recovery_wake.wake()
    for _ in range(100):
        await asyncio.sleep(0)  # recovery has its turns; the loop that leads sleeps
    running.trust._trust = trusted

    async def work() -> None: ...

    await scheduler.add_job(ScheduleJob("j", "J", "once", "2099-01-01T00:00:00", work))
    await scheduler.operations.trigger("j")
    await run_row(sql, "j", "succeeded")

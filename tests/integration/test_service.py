"""The facade: what a service calls, in order, out of order, and twice."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import (
    AlreadyInitializedError,
    Container,
    InvalidJobError,
    JobNotFoundError,
    NotInitializedError,
    RunNotFoundError,
    RunStateError,
    RunStatus,
    ScheduleJob,
    SchedulerService,
    ScheduleType,
    ServerUnreachableError,
    ServiceContainer,
    Settings,
    TableFamily,
    TableScheduler,
    job,
    load_settings,
)
from scheduler_core import service as service_module
from scheduler_core.ports.election import RESIGN_REQUEST


async def work() -> None: ...


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return load_settings(database_url=database_url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0)


@pytest.fixture(autouse=True)
async def shut_down(settings: Settings) -> AsyncIterator[None]:
    """Before the database of `settings` is dropped."""
    # Modules that other tests have imported in this process may have declared jobs.
    service_module._declared.clear()
    yield
    await SchedulerService.shutdown()
    await ServiceContainer.close()
    service_module._declared.clear()


def hourly(job_id: str = "j") -> ScheduleJob:
    return ScheduleJob(job_id, "J", "interval", 3600, work)


async def test_calls_out_of_order_are_clear_errors() -> None:
    for call in (SchedulerService.get_scheduler, SchedulerService.get_all_jobs_status):
        with pytest.raises(NotInitializedError, match="init"):
            call()
    for pending in (SchedulerService.start(), SchedulerService.stop(), SchedulerService.add_job(hourly())):
        with pytest.raises(NotInitializedError, match="init"):
            await pending
    assert not SchedulerService.is_initialized()
    await SchedulerService.shutdown()
    SchedulerService.init(settings=load_settings(database_url="postgresql://u:p@127.0.0.1:1/d", redis_url="redis://h"))
    with pytest.raises(NotInitializedError, match="start"):
        await SchedulerService.trigger_job("j")
    with pytest.raises(TypeError):
        SchedulerService()


async def test_init_only_wires(settings: Settings) -> None:
    SchedulerService.init(settings=load_settings(database_url="postgresql://u:p@127.0.0.1:1/d", redis_url="redis://h"))
    await SchedulerService.add_job(hourly())
    assert SchedulerService.get_job_status("j") is not None
    with pytest.raises(ServerUnreachableError):
        await SchedulerService.start()
    assert SchedulerService.is_initialized()


async def test_init_twice_is_harmless_and_otherwise_refused(settings: Settings) -> None:
    SchedulerService.init(settings=settings)
    SchedulerService.init(settings=settings)
    SchedulerService.init()
    with pytest.raises(AlreadyInitializedError, match="shutdown"):
        SchedulerService.init(settings=load_settings(schema="another"))
    await SchedulerService.shutdown()
    SchedulerService.init(settings=load_settings(schema="another"))


async def test_a_lock_service_must_be_one(settings: Settings) -> None:
    with pytest.raises(InvalidJobError, match="acquire"):
        SchedulerService.init(object(), settings=settings)  # type: ignore[arg-type]


async def test_any_object_with_three_methods_is_a_lock_service(
    settings: Settings, sql: psycopg.Connection[Any]
) -> None:
    calls: list[str] = []

    class Mine:
        async def acquire(self, key: str, ttl: float) -> str:
            calls.append(f"acquire {key} {ttl:g}")
            return "token"

        async def renew(self, key: str, token: str, ttl: float) -> bool:
            return True

        async def release(self, key: str, token: str) -> bool:
            calls.append(f"release {key} {token}")
            return True

    SchedulerService.init(Mine(), settings=settings)
    await SchedulerService.start()
    await SchedulerService.add_job(
        ScheduleJob("j", "J", "once", None, work, use_distributed_lock=True, lock_key="k", lock_ttl=9)
    )

    async def done() -> bool:
        return len(calls) == 2

    await eventually_async(done)
    assert calls == ["acquire k 9", "release k token"]


async def test_jobs_added_before_the_start_are_stored_by_it(settings: Settings, sql: psycopg.Connection[Any]) -> None:
    SchedulerService.init(settings=settings, logger=logging.getLogger("mine"))
    await SchedulerService.add_job(hourly("early"))

    @job("declared", cron="0 0 * * *", tags=["x"])
    async def declared() -> None: ...

    await SchedulerService.start()
    await SchedulerService.start()
    await SchedulerService.add_job(hourly("late"))
    rows = sql.execute("SELECT job_id FROM scheduler_audit.jobs ORDER BY 1").fetchall()
    assert rows == [("declared",), ("early",), ("late",)]
    fetched = [status.job_id async for status in SchedulerService.fetch_all_jobs_status()]
    assert fetched == ["declared", "early", "late"]
    assert await SchedulerService.fetch_job_status("nothing") is None
    assert SchedulerService.get_job_status("nothing") is None
    await SchedulerService.remove_job("late")
    with pytest.raises(JobNotFoundError):
        await SchedulerService.remove_job("late")
    await SchedulerService.resign()
    await SchedulerService.stop()
    await SchedulerService.stop()
    await SchedulerService.start()


async def test_the_decorator_wants_exactly_one_schedule() -> None:
    for schedules in ({}, {"every": 5, "daily": "10:00"}):
        with pytest.raises(InvalidJobError, match="exactly one"):
            job("x", **schedules)
    job("x", once=None)(work)
    with pytest.raises(InvalidJobError, match="two functions"):
        job("x", every=5)(test_the_decorator_wants_exactly_one_schedule)


async def test_a_wrong_definition_leaves_the_scheduler_as_it_was(
    settings: Settings, sql: psycopg.Connection[Any]
) -> None:
    SchedulerService.init(settings=settings)
    await SchedulerService.start()
    with pytest.raises(TypeError, match="ScheduleJob"):
        await SchedulerService.add_job({"job_id": "j"})  # type: ignore[arg-type]
    with pytest.raises(InvalidJobError):
        await SchedulerService.add_jobs([hourly("a"), hourly("b"), hourly("a")])
    assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)


async def test_the_verbs_on_runs(settings: Settings, sql: psycopg.Connection[Any]) -> None:
    SchedulerService.init(settings=settings)
    with pytest.raises(NotInitializedError, match="start"):
        await SchedulerService.cancel_run("0" * 32)
    await SchedulerService.start()
    await SchedulerService.add_job(ScheduleJob("j", "J", "cron", "0 * * * *", work, timezone="UTC"))
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    done = await SchedulerService.backfill_job("j", end - timedelta(hours=2), end)
    assert done.count == len(done.to_make) == 3

    async def succeeded(count: int) -> bool:
        found = sql.execute("SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'").fetchone()
        return found == (count,)

    await eventually_async(lambda: succeeded(3))
    (run_id,) = sql.execute("SELECT run_id FROM scheduler_audit.runs LIMIT 1").fetchone() or (None,)
    new = await SchedulerService.rerun(str(run_id))
    await eventually_async(lambda: succeeded(4))
    with pytest.raises(RunStateError):
        await SchedulerService.cancel_run(new.run_id)
    for wrong in ("not a uuid", "0" * 32):
        with pytest.raises(RunNotFoundError):
            await SchedulerService.rerun(wrong)
    await SchedulerService.get_scheduler().operations.declare(
        [ScheduleJob("k", "K", "once", "2099-01-01T00:00:00+00:00", "nowhere:nothing").definition("UTC")]
    )
    waiting = await SchedulerService.trigger_job("k")
    assert await SchedulerService.cancel_run(str(waiting.run_id), by="alice") is RunStatus.CANCELLED


async def test_the_container_the_locks_and_the_table_jobs_go_together(
    settings: Settings, sql: psycopg.Connection[Any]
) -> None:
    """As the service was described first: the lock service of the container, a table method as a nightly callback."""
    ServiceContainer.configure(settings)
    TableScheduler.register(TableFamily("event_log", columns={"payload": "jsonb"}, retention_days=7))
    try:
        lock_service = ServiceContainer.get_lock_service()
        SchedulerService.init(lock_service)
        await SchedulerService.start()
        nightly = ScheduleJob(
            job_id="daily_table_creation",
            name="Daily table creation",
            schedule_type=ScheduleType.DAILY,
            schedule_value="02:00",
            callback=TableScheduler.create_daily_tables,
            use_distributed_lock=True,
            lock_key="scheduler:create_daily_tables",
            lock_ttl=1800,
        )
        await SchedulerService.add_job(nightly)
        status = SchedulerService.get_job_status("daily_table_creation")
        assert status is not None
        assert status.next_run is not None
        assert (status.next_run.astimezone(UTC).hour, status.next_run.minute) == (2, 0)
        run = await SchedulerService.trigger_job("daily_table_creation")

        async def ended() -> bool:
            row = sql.execute("SELECT status FROM scheduler_audit.runs WHERE run_id = %s", [run.run_id]).fetchone()
            return row == ("succeeded",)

        await eventually_async(ended, what="the tables' run")
        days = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^event_log_[0-9]{8}$'"
        assert sql.execute(days).fetchone() == (4,)
        # The three methods by hand, as often as one likes.
        for _ in range(2):
            assert await TableScheduler.create_daily_tables() == []
            assert await TableScheduler.create_monthly_summary_tables() == []
            assert await TableScheduler.cleanup_old_tables() == []
    finally:
        TableScheduler.unregister("event_log")


async def test_a_held_lock_keeps_the_table_job_from_running(settings: Settings, sql: psycopg.Connection[Any]) -> None:
    ServiceContainer.configure(settings)
    locks = ServiceContainer.get_lock_service()
    # A name of its own: the tests share one Redis, and who holds this one holds it for a minute.
    key = "scheduler:held elsewhere"
    token = await locks.acquire(key, 60)
    SchedulerService.init(locks)
    await SchedulerService.start()
    callback = TableScheduler.create_daily_tables
    await SchedulerService.add_job(
        ScheduleJob("t", "T", "daily", "02:00", callback, use_distributed_lock=True, lock_key=key, lock_ttl=1800)
    )
    run = await SchedulerService.trigger_job("t")

    async def skipped() -> bool:
        query = "SELECT status, reason FROM scheduler_audit.runs WHERE run_id = %s"
        return sql.execute(query, [run.run_id]).fetchone() == ("skipped", "locked")

    await eventually_async(skipped, what="the run that found the lock held")
    await locks.release(key, token)


async def test_a_request_to_resign_that_comes_late_is_not_the_next_leaders(container: Container) -> None:
    """Every replica hears of it, and one of them leads before it has read it."""
    scheduler = await container.start()
    await eventually_async(lambda: scheduler.is_leader)
    leadership = scheduler.leadership
    assert leadership is not None
    for term in (leadership.term - 1, leadership.term + 1):
        assert not await container.ask_to_resign(term)
        scheduler.running.nudged(f"{RESIGN_REQUEST}{term}")
    assert scheduler.leadership == leadership
    assert await container.ask_to_resign(leadership.term)
    await eventually_async(lambda: scheduler.leadership is None or scheduler.leadership.term > leadership.term)

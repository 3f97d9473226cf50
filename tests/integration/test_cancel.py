"""Cancelling a run, wherever it is: waiting, executing, between two attempts, its owner dead."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from replicas import Replicas, witnessed
from waiting import eventually, eventually_async

from scheduler_core import Container, RunContext, RunNotFoundError, RunStateError, RunStatus, ScheduleJob, load_settings
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.scheduler import BaseScheduler

Sql = psycopg.Connection[Any]


def state(sql: Sql, run_id: UUID) -> Any:
    return sql.execute(
        "SELECT status, reason, attempts FROM scheduler_audit.runs WHERE run_id = %s", [run_id]
    ).fetchone()


def attempts(sql: Sql, run_id: UUID) -> list[tuple[Any, ...]]:
    return sql.execute(
        "SELECT attempt, outcome, late FROM scheduler_audit.attempts WHERE run_id = %s ORDER BY attempt", [run_id]
    ).fetchall()


async def until(sql: Sql, run_id: UUID, *statuses: str) -> Any:
    async def ask() -> Any:
        found = state(sql, run_id)
        return found if found is not None and found[0] in statuses else None

    return await eventually_async(ask, what=f"{statuses}")


def in_flight(scheduler: BaseScheduler) -> InFlightRuns:
    """The runs that this replica has."""
    return scheduler.running.in_flight


def never(job_id: str, callback: Any, **policies: Any) -> ScheduleJob:
    """A job that runs when it is triggered."""
    return ScheduleJob(job_id, job_id, "once", "2099-01-01T00:00:00+00:00", callback, **policies)


async def test_a_coroutine_is_cancelled_and_not_tried_again(scheduler: BaseScheduler, sql: Sql) -> None:
    calls: list[str] = []

    async def work() -> None:
        calls.append("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            calls.append("cleaned up")
            raise

    await scheduler.add_job(never("j", work, max_retries=3, retry_delay=0.1))
    run = await scheduler.operations.trigger("j")
    await until(sql, run.run_id, "running")
    answer = await scheduler.run_operations.cancel(run.run_id, "alice")
    assert (answer.status, answer.changed) == (RunStatus.RUNNING, True)
    assert await until(sql, run.run_id, "cancelled") == ("cancelled", "requested", 1)
    assert attempts(sql, run.run_id) == [(1, "cancelled", False)]
    assert calls == ["began", "cleaned up"]
    by = sql.execute("SELECT cancel_requested_by FROM scheduler_audit.runs").fetchone()
    assert by == ("alice",)
    counted = sql.execute(
        "SELECT run_count, error_count, consecutive_failures, last_status FROM scheduler.jobs"
    ).fetchone()
    assert counted == (0, 0, 0, "cancelled"), "what somebody wished is no error of the job"
    assert (await scheduler.run_operations.cancel(run.run_id)).status is RunStatus.CANCELLED, "harmless"
    await scheduler.add_job(never("next", lambda: None))
    after = await scheduler.operations.trigger("next")
    await until(sql, after.run_id, "succeeded")
    assert calls == ["began", "cleaned up"]


async def test_a_run_that_only_just_began_is_cancelled_with_its_attempt(scheduler: BaseScheduler, sql: Sql) -> None:
    """Its row says `pending` still: the owner tells what truly happened."""
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.Event().wait()

    await scheduler.add_job(never("j", work))
    run = await scheduler.operations.trigger("j")
    await began.wait()
    await scheduler.run_operations.cancel(run.run_id)

    async def told() -> bool:
        return bool(state(sql, run.run_id) == ("cancelled", "requested", 1))

    await eventually_async(told)
    assert attempts(sql, run.run_id) == [(1, "cancelled", False)]


async def test_a_thread_is_waited_for_and_its_run_ends_as_cancelled(scheduler: BaseScheduler, sql: Sql) -> None:
    release, noticed = threading.Event(), threading.Event()

    def work(ctx: RunContext) -> None:
        while not ctx.cancel_requested():
            assert not release.wait(0.01)
        noticed.set()
        release.wait(20)

    await scheduler.add_job(never("j", work, max_retries=3, retry_delay=0.1))
    run = await scheduler.operations.trigger("j")
    await until(sql, run.run_id, "running")
    assert (await scheduler.run_operations.cancel(run.run_id)).status is RunStatus.RUNNING
    await asyncio.to_thread(noticed.wait, 15)
    assert state(sql, run.run_id)[0] == "running", "nothing is said to have ended that executes"
    release.set()
    assert await until(sql, run.run_id, "cancelled") == ("cancelled", "requested", 1)
    (message,) = sql.execute("SELECT error_message FROM scheduler_audit.attempts").fetchone() or (None,)
    assert message is not None
    assert "not stopped, and returned" in message


async def test_a_thread_that_fails_after_a_cancel_is_not_tried_again(scheduler: BaseScheduler, sql: Sql) -> None:
    release = threading.Event()

    def work() -> None:
        release.wait(20)
        raise ValueError("too late")

    await scheduler.add_job(never("j", work, max_retries=3, retry_delay=0.1))
    run = await scheduler.operations.trigger("j")
    await until(sql, run.run_id, "running")
    await scheduler.run_operations.cancel(run.run_id)
    [active] = scheduler.running.in_flight.active()
    await eventually_async(lambda: active.cancel_requested)
    release.set()
    assert await until(sql, run.run_id, "cancelled") == ("cancelled", "requested", 1)
    assert attempts(sql, run.run_id) == [(1, "cancelled", False)]


async def test_a_run_that_waits_for_its_next_attempt_ends_at_once(scheduler: BaseScheduler, sql: Sql) -> None:
    def work() -> None:
        raise ValueError("no")

    await scheduler.add_job(never("j", work, max_retries=3, retry_delay=600, retry_max_delay=600))
    run = await scheduler.operations.trigger("j")
    await until(sql, run.run_id, "retrying")
    assert (await scheduler.run_operations.cancel(run.run_id)).status is RunStatus.CANCELLED
    assert state(sql, run.run_id) == ("cancelled", "requested", 1)
    assert attempts(sql, run.run_id) == [(1, "failed", False)]
    await eventually_async(lambda: not in_flight(scheduler) and not in_flight(scheduler).active(), what="dropped")
    assert state(sql, run.run_id) == ("cancelled", "requested", 1)


async def test_a_queued_run_is_dropped_and_the_others_go_on(scheduler: BaseScheduler, sql: Sql) -> None:
    order: list[UUID] = []
    release = asyncio.Event()

    async def work(ctx: RunContext) -> None:
        order.append(ctx.run_id)
        await release.wait()

    await scheduler.add_job(never("j", work, overlap="queue"))
    first, second, third = [await scheduler.operations.trigger("j") for _ in range(3)]
    await until(sql, first.run_id, "running")
    await until(sql, third.run_id, "queued")
    assert (await scheduler.run_operations.cancel(second.run_id)).status is RunStatus.CANCELLED
    await eventually_async(lambda: second.run_id in in_flight(scheduler)._cancelling, what="the leader has heard of it")
    release.set()
    await until(sql, third.run_id, "succeeded")
    assert order == [first.run_id, third.run_id]
    assert state(sql, second.run_id) == ("cancelled", "requested", 0)
    await eventually_async(lambda: not in_flight(scheduler), what="nothing in hand")


async def test_a_run_that_nobody_took_yet_is_ended_without_any_replica(container: Container, sql: Sql) -> None:
    await container.prepare()
    await container.get_operations().declare([never("j", "nowhere:nothing").definition("UTC")])
    run = await container.get_operations().trigger("j")
    operations = container.get_run_operations()
    assert (await operations.cancel(run.run_id)).status is RunStatus.CANCELLED
    assert state(sql, run.run_id) == ("cancelled", "requested", 0)
    with pytest.raises(RunNotFoundError):
        await operations.cancel(uuid4())


async def test_a_run_that_ended_first_wins(scheduler: BaseScheduler, sql: Sql) -> None:
    await scheduler.add_job(never("j", lambda: None))
    run = await scheduler.operations.trigger("j")
    await until(sql, run.run_id, "succeeded")
    with pytest.raises(RunStateError, match="succeeded"):
        await scheduler.run_operations.cancel(run.run_id)
    assert state(sql, run.run_id)[0] == "succeeded"


async def test_of_a_cancel_and_an_outcome_at_the_same_moment_one_counts(scheduler: BaseScheduler, sql: Sql) -> None:
    """Whoever asked is told what the row says, always."""

    async def work() -> None:
        return

    await scheduler.add_job(never("j", work, overlap="allow"))
    runs = [await scheduler.operations.trigger("j") for _ in range(60)]

    async def cancel(run_id: UUID) -> str:
        try:
            return (await scheduler.run_operations.cancel(run_id)).status.value
        except RunStateError:
            return "ended"

    answers = await asyncio.gather(*(cancel(run.run_id) for run in runs))
    await eventually_async(lambda: not in_flight(scheduler))
    for run, answer in zip(runs, answers, strict=True):
        status = state(sql, run.run_id)[0]
        assert (status == "cancelled") == (answer == "cancelled"), (answer, status)
        assert status in ("cancelled", "succeeded")


async def test_a_message_that_got_lost_is_made_up_for(scheduler: BaseScheduler, sql: Sql) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    await scheduler.add_job(never("j", work))
    run = await scheduler.operations.trigger("j")
    await until(sql, run.run_id, "running")
    sql.execute("UPDATE scheduler.runs SET cancel_requested_at = clock_timestamp()")
    assert await until(sql, run.run_id, "cancelled") == ("cancelled", "requested", 1)


async def test_an_attempt_that_fails_after_a_request_that_its_owner_has_not_heard_of_is_the_last(
    scheduler: BaseScheduler, sql: Sql
) -> None:
    """The row itself says so, whoever writes into it."""
    release = threading.Event()

    def work() -> None:
        release.wait(20)
        raise ValueError("no")

    await scheduler.add_job(never("j", work, max_retries=3, retry_delay=0.1))
    run = await scheduler.operations.trigger("j")
    await until(sql, run.run_id, "running")
    # So old that nobody looks for it.
    sql.execute("UPDATE scheduler.runs SET cancel_requested_at = clock_timestamp() - interval '1 hour'")
    release.set()
    assert await until(sql, run.run_id, "cancelled", "failed") == ("cancelled", "requested", 1)
    assert attempts(sql, run.run_id) == [(1, "failed", False)]


async def test_a_draining_former_leader_still_cancels(
    container: Container, database_url: str, redis_url: str, sql: Sql
) -> None:
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.Event().wait()

    settings = load_settings(
        database_url=database_url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0, drain_timeout=60
    )
    former = Container(settings)
    try:
        old = await former.start([never("j", work)])
        await eventually_async(lambda: old.is_leader)
        run = await old.operations.trigger("j")
        await asyncio.wait_for(began.wait(), 15)
        await until(sql, run.run_id, "running")
        successor = await container.start()
        stopping = asyncio.create_task(old.stop())
        await eventually_async(lambda: successor.is_leader)
        assert not stopping.done()
        await container.get_run_operations().cancel(run.run_id)
        await asyncio.wait_for(stopping, 15)
    finally:
        await former.close()
    assert state(sql, run.run_id) == ("cancelled", "requested", 1)


@pytest.mark.parametrize("job_id", ["lingers", "lingers-once"])
def test_a_cancel_of_a_run_whose_owner_dies_is_honoured(
    environment: dict[str, str], tmp_path: Path, sql: Sql, job_id: str
) -> None:
    """The request was made, the owner died before it could: the run is not delivered again."""
    replicas = Replicas(environment, "apps.deadly", tmp_path)
    try:
        replicas.start(2, SCHEDULER_LEASE_TTL="1")
        replicas.wait_for(sql, 2)
        find = "SELECT run_id FROM scheduler_audit.runs WHERE job_id = %s AND status = 'running'"
        (run_id,) = eventually(lambda: sql.execute(find, [job_id]).fetchone(), what="a run under way")  # type: ignore[misc]
        # An at_most_once run is marked before its callback is called.
        eventually(lambda: any(line.startswith(f"{job_id} ") for line in witnessed(environment)), what="its call")
        leader, _ = replicas.leader(sql)
        sql.execute(
            "UPDATE scheduler.runs SET cancel_requested_at = %s WHERE run_id = %s",
            [datetime.now(UTC) - timedelta(hours=1), run_id],
        )
        leader.kill()
        leader.wait()
        eventually(lambda: state(sql, run_id)[0] == "cancelled", what="cancelled")
        assert state(sql, run_id)[1] == "requested"
        assert [outcome for _, outcome, _ in attempts(sql, run_id)] == ["lost"]
    finally:
        replicas.stop()
    assert sum(line.startswith(f"{job_id} ") for line in witnessed(environment)) == 1

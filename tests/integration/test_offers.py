"""Runs that are offered to all replicas: taken once, whatever answer gets lost; turns, attempts, cancels and stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, RunContext, ScheduleJob, ServerUnreachableError, load_settings
from scheduler_core.engine.clock import boottime
from scheduler_core.engine.fire.taking import TakenTrust
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.runs import Owner, Taken

Sql = psycopg.Connection[Any]


def shared(job_id: str, callback: Any, every: float, **policies: Any) -> ScheduleJob:
    """A job whose runs are offered."""
    return ScheduleJob(job_id, job_id, "interval", every, callback, executor="replicas", **policies)


def triggered(job_id: str, callback: Any, **policies: Any) -> ScheduleJob:
    """A job that runs when it is triggered."""
    return ScheduleJob(job_id, job_id, "once", "2099-01-01T00:00:00+00:00", callback, executor="replicas", **policies)


async def until(sql: Sql, question: str, answer: object, **limits: Any) -> None:
    async def ask() -> bool:
        found = sql.execute(question).fetchone()
        return found is not None and found[0] == answer

    await eventually_async(ask, what=f"{question}: {answer}", **limits)


def losing(answer: Callable[..., Awaitable[Any]], lost: Counter[str], name: str) -> Callable[..., Awaitable[Any]]:
    """The same, whose every second answer gets lost after the fact."""

    async def ask(*given: Any, **named: Any) -> Any:
        found = await answer(*given, **named)
        lost[f"{name} asked"] += 1
        if lost[f"{name} asked"] % 2:
            lost[name] += 1
            raise ServerUnreachableError(f"the answer of {name} got lost")
        return found

    return ask


@pytest.mark.parametrize("name", ["take_offered", "offer", "claim", "record"])
@pytest.mark.parametrize("overlap", ["queue", "allow"])
async def test_whatever_answer_gets_lost_each_run_is_called_once(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch, name: str, overlap: str
) -> None:
    calls, lost = Counter[UUID](), Counter[str]()

    async def work(ctx: RunContext) -> None:
        calls[ctx.run_id] += 1
        await asyncio.sleep(0.05)

    runs = container.get_storage().runs
    monkeypatch.setattr(runs, name, losing(getattr(runs, name), lost, name))
    scheduler = await container.start()
    await scheduler.add_jobs([shared(f"j{number}", work, 0.1, overlap=overlap) for number in range(5)])
    await until(sql, "SELECT count(*) >= 100 FROM scheduler.runs WHERE status = 'succeeded'", True, within_seconds=30)
    await scheduler.stop()
    assert set(calls.values()) == {1}
    assert (name == "offer" and overlap == "allow") or lost[name] >= 1
    told = sql.execute("SELECT DISTINCT attempts, deliveries FROM scheduler_audit.runs WHERE status = 'succeeded'")
    assert told.fetchall() == [(1, 0)]
    left = sql.execute("SELECT status, count(*) FROM scheduler.runs WHERE status IN ('running', 'retrying') GROUP BY 1")
    assert left.fetchall() == []


async def test_runs_of_one_job_take_turns_and_skip_or_wait(scheduler: BaseScheduler, sql: Sql) -> None:
    executing, most = Counter[str](), Counter[str]()

    async def work(ctx: RunContext) -> None:
        executing[ctx.job_id] += 1
        most[ctx.job_id] = max(most[ctx.job_id], executing[ctx.job_id])
        await asyncio.sleep(0.3)
        executing[ctx.job_id] -= 1

    await scheduler.add_jobs([shared(overlap, work, 0.2, overlap=overlap) for overlap in ("skip", "queue", "allow")])
    await until(sql, "SELECT count(*) >= 5 FROM scheduler.runs WHERE job_id = 'queue' AND status = 'succeeded'", True)
    assert (most["skip"], most["queue"]) == (1, 1)
    assert most["allow"] > 1
    reasons = sql.execute("SELECT DISTINCT job_id, reason FROM scheduler.runs WHERE status = 'skipped'").fetchall()
    assert reasons == [("skip", "overlap")]


@pytest.mark.parametrize("slow", ["offer", "claim", "take_offered", "record", "unfinished_among"])
@pytest.mark.parametrize(("before", "after"), [(0.3, 0.0), (0.0, 0.3)], ids=["asked late", "answered late"])
async def test_turns_are_kept_however_slow_an_answer_is(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch, slow: str, before: float, after: float
) -> None:
    """Surveys, claims, triggers and ends come in between what is asked and what is answered."""
    executing, most = Counter[str](), Counter[str]()

    async def work(ctx: RunContext) -> None:
        executing[ctx.job_id] += 1
        most[ctx.job_id] = max(most[ctx.job_id], executing[ctx.job_id])
        await asyncio.sleep(0.4)
        executing[ctx.job_id] -= 1

    runs = container.get_storage().runs
    ask = getattr(runs, slow)

    async def slowly(*given: Any, **named: Any) -> Any:
        await asyncio.sleep(before)
        answer = await ask(*given, **named)
        await asyncio.sleep(after)
        return answer

    survey = runs.owners

    async def surveyed_all_the_time(instance_id: str) -> list[Owner]:
        scheduler.running._recovery_wake.wake()
        return await survey(instance_id)

    monkeypatch.setattr(runs, slow, slowly)
    monkeypatch.setattr(runs, "owners", surveyed_all_the_time)
    scheduler = await container.start()
    await scheduler.add_jobs([shared(f"queue {number}", work, 1.1, overlap="queue") for number in range(4)])
    for number in range(24):
        await scheduler.operations.trigger(f"queue {number % 4}")
        await asyncio.sleep(0.13)
    await until(sql, "SELECT count(*) >= 24 FROM scheduler.runs WHERE status = 'succeeded'", True)
    assert set(most.values()) == {1}, most


async def test_each_attempt_is_offered_anew(scheduler: BaseScheduler, sql: Sql) -> None:
    attempts: list[int] = []

    async def work(ctx: RunContext) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise RuntimeError(f"attempt {ctx.attempt}")

    await scheduler.add_job(triggered("j", work, max_retries=3, retry_delay=0.05))
    await scheduler.operations.trigger("j")
    await until(sql, "SELECT status FROM scheduler.runs WHERE attempt = 3", "succeeded")
    assert attempts == [1, 2, 3]
    kept = sql.execute("SELECT attempt, outcome FROM scheduler_audit.attempts ORDER BY attempt").fetchall()
    assert kept == [(1, "failed"), (2, "failed"), (3, "succeeded")]
    counted = sql.execute("SELECT run_count, error_count FROM scheduler.jobs").fetchone()
    assert counted == (1, 2)


async def test_what_executes_is_cancelled_where_it_executes(scheduler: BaseScheduler, sql: Sql) -> None:
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.Event().wait()

    await scheduler.add_job(triggered("j", work))
    run = await scheduler.operations.trigger("j")
    await began.wait()
    await scheduler.run_operations.cancel(run.run_id, "alice")
    await until(sql, "SELECT status FROM scheduler.runs", "cancelled")


async def test_a_stop_gives_back_what_has_not_begun(
    container: Container, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load_settings(
        **container.settings.model_dump(exclude_unset=True) | {"max_concurrent_runs": 1, "drain_timeout": 0.2}
    )
    one = Container(settings)
    began, calls = asyncio.Event(), Counter[UUID]()

    async def work(ctx: RunContext) -> None:
        calls[ctx.run_id] += 1
        began.set()
        await asyncio.Event().wait()

    scheduler = await one.start()
    await scheduler.add_jobs([triggered(f"j{number}", work, overlap="allow") for number in range(3)])
    for number in range(3):
        await scheduler.operations.trigger(f"j{number}")
    await began.wait()
    await until(sql, "SELECT count(offered) FROM scheduler.runs", 3)
    await one.close()
    rows = sql.execute("SELECT run_id, status, instance_id, offered, attempt FROM scheduler.runs").fetchall()
    assert {(row[1], row[2], row[3]) for row in rows} == {("pending", None, "replicas")}
    assert sorted(row[4] for row in rows) == [0, 0, 1], "what was cut off had an attempt, the others none"
    assert sum(calls.values()) == 1
    assert "was not answered" not in caplog.text, "it waited for a slot, and not for Postgres"


@pytest.mark.parametrize("window", [True, False], ids=["", "no trust window"])
async def test_what_was_taken_and_slept_over_begins_nothing(
    container: Container, sql: Sql, monkeypatch: pytest.MonkeyPatch, window: bool
) -> None:
    """By the time the process wakes the run may be lost, and executed elsewhere (I7): it goes back."""
    calls = Counter[UUID]()

    async def work(ctx: RunContext) -> None:
        calls[ctx.run_id] += 1

    scheduler = await container.start()
    trust = scheduler.running.executing._executor.trust
    assert isinstance(trust, TakenTrust)
    if not window:
        monkeypatch.setattr(trust, "_trust_seconds", 3600.0)
    runs, slept = container.get_storage().runs, Counter[UUID]()
    take = runs.take_offered

    async def take_and_sleep(*given: Any, **named: Any) -> Taken:
        taken = await take(*given, **named)
        slept.update(run.run_id for run in taken.runs)
        ahead = 2.0 if len(slept) == slept.total() else 0.0
        monkeypatch.setattr(trust, "_boottime", lambda: boottime() + ahead)
        return taken

    monkeypatch.setattr(runs, "take_offered", take_and_sleep)
    await scheduler.add_job(triggered("j", work))
    run = await scheduler.operations.trigger("j")
    await until(sql, "SELECT status FROM scheduler.runs", "succeeded")
    assert calls == {run.run_id: 1}
    assert slept[run.run_id] == (2 if window else 1), "it went back, and was taken again"
    assert sql.execute("SELECT deliveries, attempt FROM scheduler.runs").fetchone() == (0, 1)


async def test_what_nobody_takes_is_found_and_explained(container: Container, sql: Sql) -> None:
    settings = load_settings(**container.settings.model_dump(exclude_unset=True) | {"executes": False})
    one = Container(settings)

    async def work() -> None:
        raise AssertionError("nobody executes")

    try:
        scheduler = await one.start()
        await scheduler.add_job(triggered("j", work))
        await scheduler.operations.trigger("j")
        await until(sql, "SELECT offered FROM scheduler.runs", "replicas")
        sql.execute("UPDATE scheduler.runs SET due_at = due_at - interval '1 minute'")
        found = [one for one in await one.get_audit().findings(overdue_seconds=10) if one["kind"] == "not taken"]
        assert [one["subject"] for one in found] == ["j"]
        assert "start one with executes = true" in found[0]["detail"]
    finally:
        await one.close()

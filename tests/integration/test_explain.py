"""`explain` on real servers: what is true of a job is what it says, situation by situation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, LockService, ScheduleJob
from scheduler_core.admin.explain import explanation_of
from scheduler_core.domain.planning.explanation import Explanation

Sql = psycopg.Connection[Any]


async def work() -> None: ...


def hourly(callback: Any = work, **policies: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "interval", 3600, callback, **policies)


def never(callback: Any, **policies: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", "once", "2099-01-01T00:00:00+00:00", callback, **policies)


async def told(container: Container, *phrases: str) -> Explanation:
    """The explanation, once all of these phrases are in its sentences."""

    async def ask() -> Explanation | None:
        found = await explanation_of(container, "j")
        text = " ".join([*found.sentences, *(sentence for _, sentence in found.runs)])
        ask.last = text  # type: ignore[attr-defined]
        return found if all(phrase in text for phrase in phrases) else None

    try:
        return await eventually_async(ask, within_seconds=15, what=" / ".join(phrases))  # type: ignore[return-value]
    except AssertionError as error:
        raise AssertionError(f"{phrases} not in: {ask.last}") from error  # type: ignore[attr-defined]


async def test_a_job_that_is_well(container: Container) -> None:
    await container.start([hourly()])
    found = await told(container, "It fires next at", "leads since")
    assert (found.schedule, found.timezone, len(found.upcoming)) == ("every hour", "UTC", 10)
    assert found.upcoming[0].utc < found.upcoming[1].utc
    assert len(found.sentences) == 2


async def test_no_job_a_removed_one_and_one_that_can_not_be_read(container: Container, sql: Sql) -> None:
    scheduler = await container.start()
    assert not (await told(container, "There is no job 'j', and none of its runs")).is_known
    await scheduler.add_job(hourly())
    await scheduler.operations.trigger("j")
    await told(container, "succeeded")
    sql.execute("UPDATE scheduler.jobs SET timezone = 'Mars/Olympus'")
    assert (await told(container, "can't be read", "Mars")).is_known
    sql.execute("UPDATE scheduler.jobs SET timezone = 'UTC'")
    await scheduler.remove_job("j")
    removed = await told(container, "it was removed, and its history stays", "succeeded")
    assert not removed.is_known


async def test_nobody_leads(container: Container) -> None:
    await container.prepare()
    await container.get_operations().declare([hourly().definition("UTC")])
    await told(container, "It fires next at", "no replica lives")


async def test_paused_disabled_and_finished(container: Container, sql: Sql) -> None:
    scheduler = await container.start([hourly()])
    until = datetime.now(UTC) + timedelta(days=1)
    await scheduler.operations.pause("j", until=until, by="alice", note="the disk is full")
    paused = await told(
        container, "it is paused by alice", "The note says: the disk is full", until.isoformat(" ")[:19]
    )
    assert paused.will_fire
    await scheduler.operations.pause("j", by="bob")
    assert not (await told(container, "it is paused by bob", "until somebody resumes it")).will_fire
    await scheduler.operations.resume("j")
    await told(container, "It fires next at")
    await scheduler.add_job(hourly(enabled=False))
    await told(container, "enabled=False")
    await scheduler.remove_job("j")
    await scheduler.add_job(ScheduleJob("j", "J", "once", None, work))
    await told(container, "no further occurrence since", "succeeded")


async def test_disabled_after_failures(container: Container) -> None:
    def fail() -> None:
        raise ValueError("no")

    await container.start([ScheduleJob("j", "J", "interval", 0.2, fail, max_retries=0, disable_after=2)])
    found = await told(container, "it was disabled at", "after 2 failures in a row", "ValueError: no", "failed after 1")
    assert not found.will_fire


async def test_a_retry_and_a_running_run(container: Container) -> None:
    def fail() -> None:
        raise ValueError("no")

    scheduler = await container.start([never(fail, retry_delay=600, retry_max_delay=600)])
    await scheduler.operations.trigger("j")
    await told(container, "waits for attempt 2 of 4, due at", "ValueError: no")


async def test_an_overlap_names_the_run(container: Container, sql: Sql) -> None:
    release = asyncio.Event()
    await container.start([ScheduleJob("j", "J", "interval", 0.5, release.wait)])
    await told(container, "was skipped: the run of", "executes since")
    (running,) = sql.execute("SELECT run_id FROM scheduler_audit.runs WHERE status = 'running'").fetchone() or ("",)
    assert isinstance(running, UUID)
    await told(container, f"({running}) executed still")
    release.set()


async def test_a_callback_that_nobody_knows(container: Container) -> None:
    scheduler = await container.start()
    job = ScheduleJob("j", "J", "once", None, "elsewhere.jobs:work")
    await scheduler.operations.declare([job.definition("UTC")])
    await told(container, "No replica that lives can call elsewhere.jobs:work for this job", "waits for a replica")


async def test_who_holds_the_lock(container: Container, sql: Sql) -> None:
    """In Redis stands the run; who is no run of ours is said to be none."""
    key, release = sql.info.dbname, asyncio.Event()
    locks = container.get_lock_service()
    assert isinstance(locks, LockService)
    job = never(release.wait, use_distributed_lock=True, lock_key=key)
    scheduler = await container.start([job])
    await told(container, f"Its lock '{key}' is free")
    async with locks.hold(key, 30):
        await told(container, f"Its lock '{key}' is held by somebody who is no run of this scheduler, for ")
        await scheduler.operations.trigger("j")
        await told(container, f"somebody else held the job's lock '{key}'")
    run = await scheduler.operations.trigger("j")
    await told(container, f"is held by the run {run.run_id} on {scheduler.instance.instance_id}")
    release.set()


@pytest.mark.parametrize("misfire", ["skip", "latest"])
async def test_what_downtime_swallowed(container: Container, sql: Sql, misfire: str) -> None:
    await container.prepare()
    job = ScheduleJob("j", "J", "interval", 60, work, misfire=misfire)
    await container.get_operations().declare([job.definition("UTC")])
    sql.execute(
        "UPDATE scheduler.jobs SET anchor = anchor - interval '1 hour', next_run = anchor - interval '59 minutes', "
        "due_at = anchor - interval '59 minutes'"
    )
    overdue = await told(container, "is due for", "nobody leads")
    assert overdue.will_fire
    await container.start([job])
    await told(container, "occurrences from", f'misfire_grace is 10 s, misfire is "{misfire}"')


async def test_a_cancelled_run_names_who_asked(container: Container) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    scheduler = await container.start([never(forever)])
    run = await scheduler.operations.trigger("j")
    await told(container, "executes since")
    await scheduler.run_operations.cancel(run.run_id, "alice")
    await told(container, "was cancelled by alice at", "while it was under way")

"""Definitions that are not in memory: read batch by batch, one batch ahead of the claims, from real Postgres."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Calendar, Container, RunContext, ScheduleJob
from scheduler_core.domain.errors import NotLeaderError, ServerUnreachableError
from scheduler_core.engine.fire import claiming as claiming_module
from scheduler_core.engine.fire.job_cache import JobCache
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import DueJob

Sql = psycopg.Connection[Any]
Load = Callable[[Sequence[str]], Awaitable[Any]]

LOGGER = logging.getLogger("known jobs")


class Reads:
    """Every read of definitions, as it begins and ends; the one numbered `held` waits, and may be overtaken."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.begun: list[list[str]] = []
        self.done: list[list[str]] = []
        self.ended = 0
        self.held = -1
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def load(self, job_ids: Sequence[str]) -> Any:
        number = len(self.begun)
        self.begun.append(list(job_ids))
        try:
            found = await self._load(job_ids)
            if number == self.held:
                await self.go_on.wait()
                if self.error:
                    raise self.error
            self.done.append(list(job_ids))
            return found
        finally:
            self.ended += 1


@pytest.fixture
async def reads(container: Container, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reads]:
    await container.prepare()
    made = Reads(container.get_storage().jobs.load)
    monkeypatch.setattr(container.get_storage().jobs, "load", made.load)
    yield made
    assert made.ended == len(made.begun), "a read was left under way"
    gc.collect()


@pytest.fixture
async def known(container: Container, reads: Reads) -> JobCache:
    return JobCache(container.get_storage(), LOGGER)


async def due_jobs(container: Container, count: int, **given: Any) -> list[DueJob]:
    """As many jobs as are due, in no order that a sort would give."""
    names = [f"j{number}" for number in reversed(range(count))]
    jobs = [ScheduleJob(name, name, "interval", 60, "app:f", **given).definition("UTC") for name in names]
    await container.get_operations().declare(jobs)
    rows = await container.get_database().fetch("SELECT job_id, version, next_run FROM {schema}.jobs")
    due = {row.job_id: DueJob(row.job_id, row.version, row.next_run) for row in rows}
    return [due[name] for name in names]


def ids(jobs: Sequence[Any]) -> list[str]:
    return [job.job_id for job in jobs]


async def test_what_comes_next_is_read_meanwhile_and_nothing_beyond(
    container: Container, known: JobCache, reads: Reads
) -> None:
    due = await due_jobs(container, 10)
    reads.held = 1
    async with aclosing(known.look_up(due, 3)) as batches:
        assert ids(await anext(batches)) == ids(due[:3])
        assert reads.begun == [ids(due[:3]), ids(due[3:6])]
        reads.go_on.set()
        await eventually_async(lambda: len(reads.done) == 2, what="the second batch is there before it is asked for")
        assert len(reads.begun) == 2, "one batch ahead, no more"
        assert [ids(jobs) async for jobs in batches] == [ids(due[3:6]), ids(due[6:9]), ids(due[9:])]
    assert [len(read) for read in reads.begun] == [3, 3, 3, 1]
    async with aclosing(known.look_up(due, 4)) as again:
        assert [job async for jobs in again for job in ids(jobs)] == ids(due)
    assert len(reads.begun) == 4, "what is known is not read again"


async def test_only_what_is_missing_or_has_moved_is_read(container: Container, known: JobCache, reads: Reads) -> None:
    due = await due_jobs(container, 6)
    await known.load(ids(due[:2]) + ids(due[4:5]))
    moved = [DueJob(job.job_id, job.version + (job is due[1]), job.next_run) for job in due]
    async with aclosing(known.look_up(moved, 2)) as batches:
        assert [ids(jobs) async for jobs in batches] == [ids(due[:1]), ids(due[2:4]), ids(due[4:])]
    assert reads.begun[1:] == [ids(due[1:2]), ids(due[2:4]), ids(due[5:])]


async def test_whoever_stops_asking_leaves_no_read_behind(container: Container, known: JobCache, reads: Reads) -> None:
    due = await due_jobs(container, 6)
    reads.held = 1
    async with aclosing(known.look_up(due, 3)) as batches:
        await anext(batches)
        assert (len(reads.begun), reads.ended) == (2, 1)
    assert reads.ended == 2

    async def ask() -> None:
        async with aclosing(known.look_up(due, 3)) as batches:
            async for _ in batches:
                pass

    reads.held = 2
    asking = asyncio.create_task(ask())
    await eventually_async(lambda: len(reads.begun) == 3, what="a read is under way")
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    assert reads.ended == 3


@pytest.mark.parametrize("seen", [True, False])
async def test_a_read_ahead_that_fails_is_told_in_its_turn(
    container: Container, known: JobCache, reads: Reads, caplog: pytest.LogCaptureFixture, *, seen: bool
) -> None:
    due = await due_jobs(container, 6)
    reads.held, reads.error = 1, ServerUnreachableError("gone")
    reads.go_on.set()
    async with aclosing(known.look_up(due, 3)) as batches:
        assert ids(await anext(batches)) == ids(due[:3])
        await eventually_async(lambda: reads.ended == 2, what="the read has failed")
        if seen:
            with pytest.raises(ServerUnreachableError, match="gone"):
                await anext(batches)
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_calendar_that_changes_during_a_read_ahead_is_not_remembered_as_it_was(
    container: Container, known: JobCache, reads: Reads, sql: Sql
) -> None:
    await container.get_calendars().put(Calendar("c", note="before"))
    due = await due_jobs(container, 4, calendars=["c"])
    reads.held = 1
    async with aclosing(known.look_up(due, 2)) as batches:
        await anext(batches)
        sql.execute("UPDATE scheduler.calendars SET note = 'after', version = version + 1")
        known.observe_calendars("another")
        reads.go_on.set()
        (*_, last) = await anext(batches)
    assert [calendar.note for calendar in last.calendars] == ["after"]
    assert len(reads.begun) == 3, "the batch was read again"
    assert known.get(due[0].job_id) is None, "what was read before the change is forgotten"


async def test_a_leader_claims_what_it_does_not_know_in_the_order_in_which_it_is_due(
    scheduler: BaseScheduler, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming_module, "CLAIM_BATCH", 7)
    monkeypatch.setattr(claiming_module, "CLAIM_LIMIT", 40)
    fired: list[str] = []
    claimed: list[str] = []
    runs = scheduler.running.context.storage.runs
    claim = runs.claim

    async def seen(leadership: Leadership, plans: Any, **given: Any) -> Any:
        claimed.extend(made.job.job_id for made in plans)
        return await claim(leadership, plans, **given)

    monkeypatch.setattr(runs, "claim", seen)

    async def fire(ctx: RunContext) -> None:
        fired.append(ctx.job_id)

    at = datetime.now(UTC) + timedelta(seconds=2)
    # Each at its own instant, none of them early enough to be seen before the others are there.
    await scheduler.add_jobs(
        [ScheduleJob(f"j{n}", "J", "once", at + timedelta(microseconds=100 - n), fire) for n in range(100)]
    )
    scheduler.running.jobs._jobs.clear()
    await eventually_async(lambda: len(fired) == 100, what="all fire")
    assert len(set(fired)) == 100
    assert claimed == [f"j{n}" for n in reversed(range(100))]
    assert sql.execute("SELECT count(*) FROM scheduler.runs").fetchone() == (100,)


async def test_a_claim_that_fails_leaves_no_read_behind(
    scheduler: BaseScheduler, reads: Reads, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Deposed at the first batch, while the third is read: the term ends, and what was read ahead with it."""
    monkeypatch.setattr(claiming_module, "CLAIM_BATCH", 10)
    claiming, runs = scheduler.running.claiming, scheduler.running.context.storage.runs
    at = datetime.now(UTC) + timedelta(days=1)
    await scheduler.add_jobs([ScheduleJob(f"j{n}", "J", "once", at, lambda: None) for n in range(30)])
    rows = await scheduler.running.context.storage.jobs.load([f"j{n}" for n in range(30)])
    due = [DueJob(row.job_id, row.version, row.next_run) for row in rows]  # type: ignore[union-attr]
    scheduler.running.jobs._jobs.clear()
    reads.held = len(reads.begun) + 2

    async def deposed(*_: Any, **__: Any) -> Any:
        await eventually_async(lambda: len(reads.begun) > reads.held, what="the third batch is being read")
        raise NotLeaderError("deposed")

    monkeypatch.setattr(runs, "claim", deposed)
    with pytest.raises(NotLeaderError):
        await claiming._claim_in_batches(Leadership(1, "n", "me"), due, at)
    assert reads.ended == len(reads.begun)
    gc.collect()
    assert "never retrieved" not in caplog.text

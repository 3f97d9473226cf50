"""NOTIFY needs no right: what comes over the channel is a hint to look; a row says what was asked for, and by whom."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from logins import login, url_as
from waiting import eventually_async

from scheduler_core import BaseScheduler, Container, RunContext, ScheduleJob
from scheduler_core.ports.election import RESIGN_REQUEST
from scheduler_core.ports.runs import CANCEL_REQUEST
from scheduler_core.storage.postgres.keys import NUDGE_CHANNEL

Sql = psycopg.Connection[Any]

RUN = "SELECT status, cancel_requested_by FROM scheduler_audit.runs WHERE run_id = %s"
TERM = "SELECT end_reason, resign_requested_by FROM scheduler_audit.leadership WHERE term = %s"

NONSENSE = (
    CANCEL_REQUEST,
    f"{CANCEL_REQUEST}nonsense",
    f"{CANCEL_REQUEST}{'0' * 7_000}",
    f"{CANCEL_REQUEST}{uuid4()}",
    RESIGN_REQUEST,
    f"{RESIGN_REQUEST}nonsense",
    f"{RESIGN_REQUEST}-1",
    f"{RESIGN_REQUEST}{2**80}",
    "\x01",
    "\x01unheard of",
    "no job's id",
)


@pytest.fixture
def stranger(sql: Sql) -> Iterator[Sql]:
    """Who may log in, and nothing else."""
    with login(sql, "stranger") as role, psycopg.connect(url_as(sql, role), autocommit=True) as connection:
        yield connection


def says(stranger: Sql, *messages: str) -> None:
    for message in messages:
        stranger.execute("SELECT pg_notify(%s, %s)", [NUDGE_CHANNEL, f"scheduler:{message}"])


class Going:
    """A run that goes on until it is cancelled, or the test ends."""

    def __init__(self) -> None:
        self.started: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()
        self.calls = 0

    async def __call__(self, ctx: RunContext) -> None:
        self.calls += 1
        self.started.set_result(ctx.run_id)
        await asyncio.Event().wait()


async def heard(scheduler: BaseScheduler, stranger: Sql) -> None:
    """Everything that was said before has been heard: messages come in order, and this one leaves a trace."""
    said = f"marker {uuid4()}"
    says(stranger, said)
    await eventually_async(lambda: said in scheduler.running.jobs._stale, what="what was said is heard")


async def test_a_stranger_cancels_nothing_and_an_operator_does_at_once(
    scheduler: BaseScheduler, sql: Sql, stranger: Sql
) -> None:
    going = Going()
    await scheduler.add_job(ScheduleJob("j", "J", "once", None, going, max_retries=0))
    run_id = await going.started
    says(stranger, f"{CANCEL_REQUEST}{run_id}")
    await heard(scheduler, stranger)
    cancels = scheduler.running._cancels
    await eventually_async(lambda: not cancels._hinted, what="the hint was looked at")
    assert sql.execute("SELECT cancel_requested_by FROM scheduler.runs WHERE run_id = %s", [run_id]).fetchone() == (
        None,
    )
    assert [active.run.run_id for active in scheduler.running.in_flight.calling()] == [run_id], "it goes on"
    asked = time.monotonic()
    await scheduler.run_operations.cancel(run_id, "alice")
    await eventually_async(lambda: sql.execute(RUN, [run_id]).fetchone() == ("cancelled", "alice"))
    assert time.monotonic() - asked < 0.9, "by the hint, and not by the look of each second"


async def test_a_stranger_deposes_nobody(
    scheduler: BaseScheduler, sql: Sql, stranger: Sql, container: Container
) -> None:
    leadership = scheduler.leadership
    assert leadership is not None
    says(stranger, *[f"{RESIGN_REQUEST}{leadership.term}"] * 50)
    await heard(scheduler, stranger)
    watch = scheduler.running._resignations
    await eventually_async(lambda: not watch._wake._event.is_set(), what="the hint was looked at")
    assert scheduler.leadership == leadership
    assert await container.ask_to_resign(leadership.term, "alice")
    await eventually_async(lambda: scheduler.leadership != leadership, what="it resigns")
    await eventually_async(lambda: sql.execute(TERM, [leadership.term]).fetchone() == ("asked to", "alice"))
    assert not await container.ask_to_resign(leadership.term, "bob"), "it has ended"
    assert sql.execute(TERM, [leadership.term]).fetchone() == ("asked to", "alice")


async def test_a_request_is_found_also_when_nobody_says_so(scheduler: BaseScheduler, sql: Sql) -> None:
    """A pooler, a session that was being made anew: messages get lost, rows do not."""
    leadership = scheduler.leadership
    assert leadership is not None
    sql.execute("UPDATE scheduler.leader_terms SET resign_requested_by = 'carol' WHERE term = %s", [leadership.term])
    await eventually_async(lambda: sql.execute(TERM, [leadership.term]).fetchone() == ("asked to", "carol"))


async def test_nonsense_is_ignored_without_a_word(
    scheduler: BaseScheduler, sql: Sql, stranger: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    """In each of the loops that hear it, and in those of the event loop."""
    caplog.set_level(logging.WARNING)
    going = Going()
    await scheduler.add_job(ScheduleJob("j", "J", "once", None, going, max_retries=0))
    await going.started
    leadership = scheduler.leadership
    says(stranger, *NONSENSE)
    await heard(scheduler, stranger)
    await scheduler.add_job(ScheduleJob("k", "K", "once", None, lambda: None))
    ended = "SELECT status FROM scheduler_audit.runs WHERE job_id = 'k'"
    await eventually_async(lambda: sql.execute(ended).fetchone() == ("succeeded",), what="it fires on")
    assert scheduler.leadership == leadership
    assert going.calls == 1
    words = [record.message for record in caplog.records]
    assert [word for word in words if "can be called by this process alone" not in word] == []


async def test_hints_without_end_are_looks_now_and_then(
    scheduler: BaseScheduler, stranger: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = scheduler.running._cancels._requests
    looks: list[str] = []
    for name in ("cancelled_among", "asked_to_resign"):
        ask = getattr(requests, name)

        async def counted(what: Any, name: str = name, ask: Any = ask) -> Any:
            looks.append(name)
            return await ask(what)

        monkeypatch.setattr(requests, name, counted)
    going = Going()
    await scheduler.add_job(ScheduleJob("j", "J", "once", None, going, max_retries=0))
    run_id = await going.started
    assert scheduler.leadership is not None
    began = time.monotonic()
    for _ in range(300):
        says(stranger, f"{CANCEL_REQUEST}{run_id}", f"{RESIGN_REQUEST}{scheduler.leadership.term}")
        await asyncio.sleep(0)
    await heard(scheduler, stranger)
    lasted = time.monotonic() - began
    assert 0 < looks.count("cancelled_among") <= lasted / 0.02 + 2
    assert 0 < looks.count("asked_to_resign") <= lasted / 0.1 + 3

"""Whoever asks a leader to resign asks its term: answered when that ends, however it ends, and none outlives it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import BaseScheduler, Container

Sql = psycopg.Connection[Any]

TTL_SECONDS = 1.0
TERMS = "SELECT count(*) FROM scheduler.leader_terms"
END_SESSION = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'scheduler control %'"
DEPOSE = "UPDATE scheduler.leader SET term = term + 1, nonce = NULL"
TROUBLES = ("the elector's thread ended", "unforeseen", "InvalidStateError", "begins again")


@pytest.fixture
async def leader(container: Container, caplog: pytest.LogCaptureFixture) -> BaseScheduler:
    caplog.set_level(logging.WARNING)
    scheduler = await container.start()
    await eventually_async(lambda: scheduler.is_leader, what="it leads")
    return scheduler


def terms(sql: Sql) -> int:
    row = sql.execute(TERMS).fetchone()
    assert row is not None
    return int(row[0])


async def leads_on(scheduler: BaseScheduler, sql: Sql, caplog: pytest.LogCaptureFixture) -> None:
    """It leads again, and nothing that was asked for before deposes it: its term outlives two TTLs."""
    await eventually_async(lambda: scheduler.is_leader, what="it leads again")
    [term] = sql.execute("SELECT max(term) FROM scheduler.leader_terms").fetchone() or [0]
    beats = "SELECT extract(epoch FROM clock_timestamp() - acquired_at) FROM scheduler.leader WHERE term = %s"
    await eventually_async(
        lambda: (sql.execute(beats, [term]).fetchone() or [TTL_SECONDS * 3])[0] > 2 * TTL_SECONDS, what="two TTLs"
    )
    assert sql.execute("SELECT term FROM scheduler.leader WHERE nonce IS NOT NULL").fetchone() == (term,)
    said = caplog.text
    assert not [words for words in TROUBLES if words in said]


@pytest.mark.parametrize("loss", [END_SESSION, DEPOSE], ids=["its session ends", "it is deposed"])
async def test_a_request_while_the_term_is_being_lost_is_answered_and_deposes_no_later_one(
    leader: BaseScheduler, sql: Sql, caplog: pytest.LogCaptureFixture, loss: str
) -> None:
    for _ in range(3):
        await eventually_async(lambda: leader.is_leader, what="it leads")
        asked = asyncio.create_task(leader.resign())
        await asyncio.to_thread(sql.execute, loss)
        async with asyncio.timeout(2 * TTL_SECONDS):
            await asked
    await leads_on(leader, sql, caplog)


async def test_whoever_gives_up_waiting_changes_nothing(
    leader: BaseScheduler, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    before = terms(sql)
    waits = asyncio.create_task(leader.resign())
    await asyncio.sleep(0)  # it has asked
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert waits.cancelled()
    await eventually_async(lambda: terms(sql) > before, what="the term ends all the same, and another begins")
    await leads_on(leader, sql, caplog)


async def test_all_who_ask_at_once_are_answered(
    leader: BaseScheduler, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(2 * TTL_SECONDS):
        await asyncio.gather(*(leader.resign() for _ in range(5)))
    await leads_on(leader, sql, caplog)

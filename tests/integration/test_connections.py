"""Whatever cancels, times out or closes: no connection is left to the garbage collector, none to the server."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import secrets
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from cancelling import When, cancel_at
from sqlalchemy import text
from waiting import eventually, eventually_async

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.domain.jobs.abilities import Abilities
from scheduler_core.executors.process import ProcessExecutor
from scheduler_core.ports.election import Instance, LeaseName
from scheduler_core.ports.executor import ExecutorContext
from scheduler_core.storage.fire.control_session import PostgresControlSession
from scheduler_core.storage.postgres import migrate
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.errors import DatabaseClosedError
from scheduler_core.storage.postgres.url import open_session, parse_url
from scheduler_core.storage.redis.leases import LeaseStore
from scheduler_core.storage.redis.locks import LockService
from scheduler_core.storage.redis.url import connect

Sql = psycopg.Connection[Any]
Closing = Callable[[], Awaitable[Any]]
Way = Callable[["Where"], tuple[Coroutine[Any, Any, Any], Closing]]

SESSIONS = (
    "SELECT application_name, state, query FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True, slots=True)
class Where:
    """The servers of one test."""

    database_url: str
    redis_url: str

    def instance(self) -> Instance:
        return Instance(secrets.token_hex(4), "x", "host", os.getpid(), "1", eligible=True)

    def control(self) -> PostgresControlSession:
        return PostgresControlSession(self.database_url, "scheduler", ttl_seconds=3.0)

    def settings(self) -> dict[str, Any]:
        servers = {"database_url": self.database_url, "redis_url": self.redis_url}
        return servers | {"timezone": "UTC", "lease_ttl": 1.0, "drain_timeout": 1.0}


@pytest.fixture
def where(database_url: str, redis_url: str) -> Where:
    return Where(database_url, redis_url)


# Every way on which something is opened: the work that is cancelled, and what its owner does afterwards.


async def nothing() -> None: ...


def a_session(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    opened: list[Any] = []

    async def work() -> None:
        opened.append(await open_session(parse_url(where.database_url), timeout_seconds=5.0))

    async def close() -> None:
        for session in opened:
            await session.close()

    return work(), close


def a_statement(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    database = Database(where.database_url, settings={"jit": "off"})
    return database.fetch("SELECT 1"), database.close


def a_statement_that_lasts(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    database = Database(where.database_url)

    async def work() -> None:
        await database.fetch("SELECT 1")
        await database.fetch("SELECT pg_sleep(0.005)")

    return work(), database.close


def a_transaction(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    database = Database(where.database_url)

    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT 1"))

    return work(), database.close


def statements_alone(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    database = Database(where.database_url)
    return database.run_alone(["SET lock_timeout = '1s'", "SELECT 1"]), database.close


def a_look_at_the_schema(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    return migrate.revisions(where.database_url), nothing


class Deaf:
    """Is told of nothing here."""

    def nudged(self, message: str) -> None: ...

    def session_lost(self) -> None: ...


def the_control_session(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    """Nobody knows it before it is open: whoever cancels has nothing to close."""
    control = where.control()
    is_open: list[bool] = []

    async def work() -> None:
        await control.open(where.instance(), Deaf())
        is_open.append(True)

    async def close() -> None:
        if is_open:
            await control.close()

    return work(), close


def calls_of_the_control_session(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    control = where.control()

    async def work() -> None:
        await control.open(where.instance(), Deaf())
        await control.leader()
        await control.depart()
        await control.close()

    return work(), control.close


def the_lease(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    lease = LeaseStore(where.redis_url, LeaseName(secrets.token_hex(4), "here"), timeout_seconds=1.0)

    async def work() -> None:
        await lease.ping()
        await lease.take("token", 1.0, "i", dead_token=None, term=1, is_new=True)
        await lease.read()

    return work(), lease.close


def a_lock(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    client = connect(where.redis_url, timeout_seconds=1.0)

    async def work() -> None:
        async with LockService(client).hold(secrets.token_hex(4), 1.0):
            await asyncio.sleep(0)

    return work(), client.aclose


def a_process_of_the_pool(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    settings = where.settings() | {"process_workers": 1}
    pool = ProcessExecutor(ExecutorContext(settings, "x", Abilities, logging.getLogger("scheduler_core")))
    return pool._places[0].process(), pool.stop


WAYS: dict[str, Way] = {
    way.__name__.replace("_", " "): way
    for way in (
        *(a_session, a_statement, a_statement_that_lasts, a_transaction, statements_alone),
        *(a_look_at_the_schema, the_control_session, calls_of_the_control_session),
        *(the_lease, a_lock, a_process_of_the_pool),
    )
}


def descriptors() -> set[tuple[str, str]]:
    """This process's sockets and pipes."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the folder's own
            continue
        if target.startswith(("socket:", "pipe:", "anon_inode:[pidfd]")):
            found.add((number, target))
    return found


@contextmanager
def nothing_is_left_to_the_collector() -> Iterator[None]:
    """No connection, socket, transport, subprocess or task is found unclosed."""
    gc.collect()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in found] == []


async def ends_clean(where: Where, way: Way, step: int, when: When) -> bool:
    """Cancel at this step, close, and see that it is as before; whether there was such a step."""
    before = descriptors()
    work, close = way(where)
    was_cancelled = await cancel_at(work, step, when)
    async with asyncio.timeout(30):
        await close()
    await eventually_async(lambda: descriptors() <= before, what=f"what was opened by step {step} is closed")
    return was_cancelled


@pytest.mark.parametrize("when", list(When), ids=lambda when: when.name.lower())
@pytest.mark.parametrize("name", WAYS)
async def test_a_connect_that_is_cancelled_at_any_step_leaves_nothing_open(
    where: Where, sql: Sql, name: str, when: When
) -> None:
    with nothing_is_left_to_the_collector():
        for step in itertools.count(1):
            if not await ends_clean(where, WAYS[name], step, when):
                break
        assert step > 3, "it has steps, and each was cancelled"
    await eventually_async(lambda: sql.execute(SESSIONS).fetchall() == [], what="no session is left at the server")


def a_replica(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    """Its pools, its threads with a loop of their own, the election."""
    container = Container(load_settings(**where.settings()))
    return container.start([ScheduleJob("j", "J", "interval", 60, nothing)]), container.close


def a_migration(where: Where) -> tuple[Coroutine[Any, Any, Any], Closing]:
    return migrate.upgrade_async(where.database_url, f"s{secrets.token_hex(4)}"), nothing


@pytest.mark.parametrize(("way", "stride"), [(a_replica, 6), (a_migration, 60)])
async def test_a_long_way_that_is_cancelled_at_a_sample_of_its_steps_leaves_nothing_open(
    where: Where, sql: Sql, way: Way, stride: int
) -> None:
    with nothing_is_left_to_the_collector():
        for step in itertools.count(1, stride):
            if not await ends_clean(where, way, step, When.WAITING):
                break
        assert step > 5 * stride
    await eventually_async(lambda: sql.execute(SESSIONS).fetchall() == [], what="no session is left at the server")


# Closing while something is under way.


def in_a_loop_of_its_own(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run the work and end its loop, as a thread with a loop of its own does, and look at what is left."""
    with nothing_is_left_to_the_collector():
        return asyncio.run(work())


async def until_it_sleeps(sql: Sql) -> None:
    sleeping = SESSIONS + " AND state = 'active' AND query LIKE '%pg_sleep%'"
    await eventually_async(lambda: sql.execute(sleeping).fetchall())


def test_a_statement_under_way_ends_as_its_connections_are_closed(database_url: str, sql: Sql) -> None:
    async def work() -> Any:
        database = Database(database_url)
        statement = asyncio.create_task(database.fetch("SELECT pg_sleep(600)"))
        await until_it_sleeps(sql)
        await database.close()
        assert statement.done(), "whoever ends the loop next meets nothing that is still on its way"
        return await asyncio.gather(statement, return_exceptions=True)

    (error,) = in_a_loop_of_its_own(work)
    assert isinstance(error, DatabaseClosedError)
    assert str(error).endswith("are closed: their owner has ended")
    eventually(lambda: sql.execute(SESSIONS).fetchall() == [])


def test_what_was_closed_opens_no_connection_any_more(database_url: str, sql: Sql) -> None:
    async def work() -> None:
        database = Database(database_url)
        await database.fetch("SELECT 1")
        await database.close()
        with pytest.raises(DatabaseClosedError):
            await database.fetch("SELECT 1")
        with pytest.raises(DatabaseClosedError):
            await database.run_alone(["SELECT 1"])
        with pytest.raises(DatabaseClosedError):
            async with database.transaction():
                pass
        await database.close()

    in_a_loop_of_its_own(work)
    assert sql.execute(SESSIONS).fetchall() == []


def test_a_connect_under_way_is_given_up_as_its_owner_closes(database_url: str, sql: Sql) -> None:
    """From the first turn of the loop on, until the answer is there first."""

    async def close_after(turns: int) -> bool:
        database = Database(database_url)
        statement = asyncio.create_task(database.fetch("SELECT 1"))
        for _ in range(turns):
            await asyncio.sleep(0)
        had_answer = statement.done()
        await database.close()
        (answer,) = await asyncio.gather(statement, return_exceptions=True)
        assert had_answer or isinstance(answer, (DatabaseClosedError, list)), answer
        return had_answer

    with nothing_is_left_to_the_collector():
        turns = 0
        while not asyncio.run(close_after(turns)):
            turns += 1 + turns // 4
    assert turns > 3
    eventually(lambda: sql.execute(SESSIONS).fetchall() == [])


def test_what_others_use_is_closed_as_they_give_it_back_after_an_answer_that_never_came(
    database_url: str, sql: Sql
) -> None:
    """The pool is left then, and nobody asks it again."""

    async def work() -> None:
        database = Database(database_url)
        patient = asyncio.create_task(database.fetch("SELECT pg_advisory_lock(77)"))
        await eventually_async(
            lambda: sql.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchall()
        )
        with pytest.raises(ServerUnreachableError):
            await database.fetch("SELECT pg_sleep(600)", timeout_seconds=0.1)
        sql.execute("SELECT pg_advisory_unlock(77)")
        await patient
        with_lock = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
        await eventually_async(lambda: sql.execute(with_lock).fetchall() == [], what="its session has ended")
        await database.fetch("SELECT 1")
        await database.close()

    sql.execute("SELECT pg_advisory_lock(77)")
    in_a_loop_of_its_own(work)


def test_a_statement_that_is_cancelled_and_not_awaited_is_put_away_with_the_rest(database_url: str, sql: Sql) -> None:
    async def work() -> None:
        database = Database(database_url)
        statement = asyncio.create_task(database.fetch("SELECT pg_sleep(600)"))
        await until_it_sleeps(sql)
        statement.cancel()
        await database.close()

    in_a_loop_of_its_own(work)


async def test_a_stop_that_fails_keeps_no_connection_open(where: Where, sql: Sql) -> None:
    container = Container(load_settings(**where.settings()))
    with nothing_is_left_to_the_collector():
        await container.start()
        scheduler = container.get_scheduler()
        stop = scheduler.stop

        async def fail() -> None:
            await stop()
            raise TimeoutError("it did not stop in time")

        scheduler.stop = fail  # type: ignore[method-assign]
        with pytest.raises(TimeoutError):
            await container.close()
        scheduler.stop = stop  # type: ignore[method-assign]
    assert sql.execute(SESSIONS).fetchall() == []


async def test_a_stop_that_is_cancelled_ends_the_elector_all_the_same(where: Where) -> None:
    """Whoever gives up waiting for it must not take away what it is about to say."""
    container = Container(load_settings(**where.settings()))
    await container.start()
    elector = container.get_scheduler().running.elector
    await cancel_at(elector.stop(), 1, When.WAITING)
    await elector.stop()
    assert not elector._thread.post(print)
    await container.close()

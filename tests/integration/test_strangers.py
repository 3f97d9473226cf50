"""Advisory locks are anybody's: a witness counts only in the hands of the session that was registered with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from logins import in_line, login, url_as
from waiting import eventually_async

from scheduler_core import Container
from scheduler_core.domain.errors import RefusedForNowError, SchemaError
from scheduler_core.ports.election import Instance, LeaderRow, Leadership
from scheduler_core.storage.fire.control_session import PostgresControlSession
from scheduler_core.storage.postgres import migrate
from scheduler_core.storage.postgres.keys import advisory_key

Sql = psycopg.Connection[Any]

LIVES = "SELECT scheduler.witness_held(life_key) FROM scheduler.instances WHERE instance_id = 'me-1'"
LONG_SECONDS = 30.0


class Nobody:
    """Listens to no session."""

    def nudged(self, message: str) -> None: ...

    def session_lost(self) -> None: ...


@pytest.fixture
def stranger(sql: Sql) -> Iterator[str]:
    """Who may log in, and nothing else."""
    with login(sql, "stranger") as role:
        yield role


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[list[PostgresControlSession]]:
    made = [PostgresControlSession(database_url, "scheduler", ttl_seconds=LONG_SECONDS) for _ in range(2)]
    for number, session in enumerate(made, 1):
        await session.open(Instance(f"me-{number}", "me", "here", number, "0", eligible=True), Nobody())
    yield made
    for session in made:
        await session.close()


async def led(session: PostgresControlSession) -> tuple[LeaderRow, Leadership]:
    leadership = await session.claim(await session.leader(), "nonce", reason="test", silent_seconds=0, proposed_term=0)
    assert leadership is not None
    return await session.leader(), leadership


async def test_a_dead_replica_does_not_live_on_in_somebody_else_s_lock(
    sessions: list[PostgresControlSession], sql: Sql, stranger: str
) -> None:
    assert sql.execute(LIVES).fetchone() == (True,)
    with in_line(sql, stranger):
        assert sql.execute(LIVES).fetchone() == (True,)
        await sessions[0].close()
        assert sql.execute(LIVES).fetchone() == (False,)


async def test_a_replica_that_comes_back_needs_no_lock_that_was_seen_before(
    sessions: list[PostgresControlSession], sql: Sql, stranger: str, database_url: str
) -> None:
    with in_line(sql, stranger):
        await sessions[0].close()
        again = PostgresControlSession(database_url, "scheduler", ttl_seconds=LONG_SECONDS)
        sessions.append(again)
        await again.open(Instance("me-1", "me", "here", 1, "0", eligible=True), Nobody())
        assert again.witnesses_work
        assert sql.execute(LIVES).fetchone() == (True,)


@pytest.mark.parametrize("comes", ["before the wait", "during the wait"])
async def test_a_leader_s_fall_is_seen_past_who_stands_in_line(
    sessions: list[PostgresControlSession], sql: Sql, stranger: str, comes: str
) -> None:
    """Whoever came before the follower holds the lock when the leader dies."""
    leader, follower = sessions
    row, _ = await led(leader)

    async def fallen() -> float:
        while not await follower.await_fall(row, 0.7):
            pass
        return time.monotonic()

    waiting = asyncio.create_task(fallen()) if comes == "during the wait" else None
    await asyncio.sleep(0)
    line = in_line(sql, stranger)
    await asyncio.to_thread(line.__enter__)
    try:
        waiting = waiting or asyncio.create_task(fallen())
        await asyncio.sleep(0)
        assert not await follower.await_fall(row, 0.01)
        died = time.monotonic()
        await leader.close()
        async with asyncio.timeout(LONG_SECONDS / 3):
            assert await waiting - died < 2.0
    finally:
        await asyncio.to_thread(line.__exit__, None, None, None)


async def test_without_a_stranger_a_follower_waits_and_does_not_look_again_and_again(
    sessions: list[PostgresControlSession], sql: Sql
) -> None:
    """The wait is one sleep on the lock: it ends with the leader, within milliseconds."""
    leader, follower = sessions
    row, _ = await led(leader)
    assert not await follower.await_fall(row, 0.05)
    waiting = asyncio.create_task(follower.await_fall(row, 0.7))
    asleep = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND NOT granted"
    await eventually_async(lambda: sql.execute(asleep).fetchone(), what="it waits")
    await leader.close()
    assert await waiting


async def test_a_trigger_registers_which_session_holds_the_witnesses(
    sessions: list[PostgresControlSession], sql: Sql
) -> None:
    """No statement names the column. Where a hand has emptied it, any holder counts."""
    [pid] = sql.execute("SELECT control_pid FROM scheduler.instances WHERE instance_id = 'me-1'").fetchone() or [None]
    held = sql.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = %s", [pid]).fetchone()
    assert held is not None
    sql.execute("UPDATE scheduler.instances SET control_pid = NULL")
    assert sql.execute(LIVES).fetchone() == (True,)
    row, _ = await led(sessions[0])
    assert not await sessions[1].await_fall(row, 0.05)
    sql.execute("UPDATE scheduler.instances SET life_key = NULL WHERE instance_id = 'me-1'")
    assert sql.execute("SELECT control_pid FROM scheduler.instances WHERE instance_id = 'me-1'").fetchone() == (None,)


@contextmanager
def holding(sql: Sql, role: str, key: int) -> Iterator[int]:
    """The stranger has an advisory lock; yields the process id of his session."""
    with closing(psycopg.connect(url_as(sql, role), autocommit=True)) as session:
        session.execute("SELECT pg_advisory_lock(%s)", [key])
        yield session.info.backend_pid


async def test_who_keeps_a_migration_from_happening_is_named(database_url: str, sql: Sql, stranger: str) -> None:
    await migrate.downgrade_async(database_url)
    with holding(sql, stranger, advisory_key("migrate", "scheduler")) as pid:
        with pytest.raises(SchemaError) as refused:
            await migrate.upgrade_async(database_url, give_up_seconds=0.2)
        assert f"session {pid} of {stranger} (nameless, idle) holds the lock" in str(refused.value)
        sql.execute(str(refused.value).partition("ours, ")[2].partition(";")[0])  # type: ignore[arg-type]
        await migrate.upgrade_async(database_url, give_up_seconds=10.0)


async def test_who_keeps_days_from_being_made_is_named(
    container: Container, sql: Sql, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for no longer than anything else that is busy, and the day is made once he is gone."""
    await container.prepare()
    tables = container.get_tables()
    monkeypatch.setattr(tables, "_patience_seconds", 0.1)
    day = datetime.now(UTC).date() - timedelta(days=100)
    with (
        holding(sql, stranger, advisory_key("table", "scheduler", "runs")) as pid,
        pytest.raises(RefusedForNowError, match=f"session {pid} of {stranger} "),
    ):
        await tables.ensure_history([day])
    assert await tables.ensure_history([day]) != []

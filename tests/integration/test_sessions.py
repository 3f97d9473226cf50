"""Sessions say what they need, whatever the role, the database or a pooler has for a default."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.storage.postgres.database import Database

Sql = psycopg.Connection[Any]

CONTRARY = {
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "timezone": "Asia/Kolkata",
    "statement_timeout": "200ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
}
"""db-scheduler #295, graphile/worker #273: a default of somebody else's for the whole database."""

SUCCEEDED = "SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'"


async def work() -> None:
    pass


@pytest.fixture
async def replicas(database_url: str, redis_url: str) -> AsyncIterator[list[Container]]:
    settings = load_settings(database_url=database_url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0)
    made = [Container(settings) for _ in range(2)]
    yield made
    for container in made:
        await container.close()


async def fires(sql: Sql, replicas: list[Container], count: int) -> None:
    for container in replicas:
        await container.get_scheduler().start()
    await replicas[0].get_scheduler().add_jobs([ScheduleJob(f"j{n}", "J", "interval", 0.2, work) for n in range(5)])

    async def enough() -> bool:
        row = sql.execute(SUCCEEDED).fetchone()
        return row is not None and row[0] >= count

    await eventually_async(enough, what=f"{count} runs")


async def test_defaults_of_the_database_change_nothing(replicas: list[Container], sql: Sql) -> None:
    for name, value in CONTRARY.items():
        sql.execute(SQL("ALTER DATABASE {} SET {} = {}").format(Identifier(sql.info.dbname), Identifier(name), value))
    await fires(sql, replicas, 20)
    assert sql.execute(
        "SELECT count(*) FROM scheduler_audit.runs WHERE status NOT IN ('succeeded', 'pending')"
    ).fetchone() == (0,)
    wrong = "SELECT count(*) FROM pg_stat_database WHERE datname = current_database() AND deadlocks > 0"
    assert sql.execute(wrong).fetchone() == (0,)


async def test_a_pooler_is_found_and_everything_works_behind_it(
    pooled_url: str, database_url: str, redis_url: str, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    """What is prepared there stays with a server process that somebody else is given next: 42P05, 26000."""
    settings = load_settings(
        database_url=pooled_url, control_database_url=database_url, redis_url=redis_url, timezone="UTC", lease_ttl=1.0
    )
    replicas = [Container(settings) for _ in range(2)]
    try:
        await fires(sql, replicas, 20)
    finally:
        for container in replicas:
            await container.close()
    assert "a transaction pooler stands before Postgres" in caplog.text
    assert sql.execute("SELECT count(*) FROM scheduler_audit.attempts WHERE outcome <> 'succeeded'").fetchone() == (0,)
    # Nobody else's sessions were changed by what ours need.
    with psycopg.connect(pooled_url) as somebody:
        assert somebody.execute("SHOW enable_seqscan").fetchone() == ("on",)


async def test_a_session_has_its_settings(database_url: str) -> None:
    database = Database(database_url, settings={"enable_seqscan": "off"})
    row = await database.fetch_one(
        "SELECT current_setting('transaction_isolation') AS isolation, current_setting('TimeZone') AS zone, "
        "current_setting('enable_seqscan') AS scan"
    )
    await database.close()
    assert row is not None
    assert (row.isolation, row.zone, row.scan) == ("read committed", "UTC", "off")

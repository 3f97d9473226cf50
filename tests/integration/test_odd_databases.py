"""Databases that were made, or set, as few are: refused before anything is made, or worked with."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from waiting import eventually_async

from scheduler_core import Container, ScheduleJob, SchemaError, load_settings
from scheduler_core.storage.postgres import migrate

Sql = psycopg.Connection[Any]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_that_lacks_characters_is_refused_and_stays_empty(sql: Sql, encoding: str) -> None:
    name = f"{encoding.lower()}_{sql.info.dbname}"
    info = sql.info
    sql.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    try:
        url = urlunsplit(urlsplit(f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{name}"))
        with pytest.raises(SchemaError, match=f"encoding {encoding}.*nothing was made"):
            await migrate.upgrade_async(url)
        with psycopg.connect(url, client_encoding="utf8") as connection:
            made = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'scheduler%'"
            assert connection.execute(made).fetchone() in [(0,), (b"0",)]
    finally:
        sql.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_strings_that_do_not_conform_are_worked_with(empty_database_url: str, redis_url: str) -> None:
    """standard_conforming_strings = off, of a database that is older than it: a second start finds its partitions."""
    with psycopg.connect(empty_database_url, autocommit=True) as sql:
        sql.execute(f"ALTER DATABASE {sql.info.dbname} SET standard_conforming_strings = off")

        async def work() -> None: ...

        ended = "SELECT status FROM scheduler_audit.runs WHERE job_id = %s"
        for number in range(2):
            container = Container(load_settings(database_url=empty_database_url, redis_url=redis_url, lease_ttl=1.0))
            try:
                await container.start([ScheduleJob(f"a \\ b {number}", "J", "once", None, work)])
                await eventually_async(
                    lambda number=number: sql.execute(ended, [f"a \\ b {number}"]).fetchone() == ("succeeded",)
                )
            finally:
                await container.close()
        bounds = sql.execute("SELECT count(*) FROM scheduler.table_partitions WHERE first IS NULL").fetchone()
        assert bounds == (0,)

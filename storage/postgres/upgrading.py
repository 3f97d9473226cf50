"""Bringing the schema to head, beside a scheduler that fires: once, by whoever comes first, while others wait.

Any number of replicas may start at the same moment; one migrates, the others then find the work done. Each revision is
a transaction of its own. A statement that has to wait for a lock makes every claim behind it wait as well, so it gives
up soon, the transaction is rolled back, the claims go on, and the revision is tried again a moment later. Nobody's long
transaction can therefore stop the scheduler by way of a migration; it can only keep the migration from happening.
"""

from __future__ import annotations

import asyncio
import random

import asyncpg
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scheduler_core.domain.errors import SchemaError
from scheduler_core.domain.revision import UPGRADABLE, Fit, explain, fit
from scheduler_core.storage.postgres.errors import explain as explain_driver
from scheduler_core.storage.postgres.keys import advisory_key
from scheduler_core.storage.postgres.lock_holders import HOLDER, describe_holder
from scheduler_core.storage.postgres.revisions import LOCK_TIMEOUTS_MS, configuration, current_revision, head
from scheduler_core.storage.postgres.schema_name import check_schema_name
from scheduler_core.storage.postgres.sqlstates import sqlstate
from scheduler_core.storage.postgres.url import engine_of_single_sessions, parse_url

LOCK_NOT_AVAILABLE, DEADLOCK = "55P03", "40P01"
GIVE_UP_SECONDS = 60.0
POLL_SECONDS = 0.1

# Tried and not waited for: a statement that waits holds a snapshot, and CREATE INDEX CONCURRENTLY in the process that
# migrates would wait for its end.
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(CAST(:key AS bigint))"

ENCODING = "SELECT current_database(), current_setting('server_encoding')"

# What was asked last keeps its snapshot until the next statement comes, and this one takes none: or CREATE INDEX
# CONCURRENTLY would wait for the guard, and the guard for it. It is idle on purpose, too.
LET_GO_OF_THE_SNAPSHOT = "SET LOCAL idle_in_transaction_session_timeout = 0"

# The oldest transaction that has anything of the schema in its hands: as good as certainly who is waited for.
OLDEST_TRANSACTION = """
SELECT a.pid, a.application_name, a.state, round(extract(epoch FROM clock_timestamp() - a.xact_start)) AS seconds
FROM pg_stat_activity a
WHERE a.xact_start IS NOT NULL AND a.pid <> pg_backend_pid()
  AND EXISTS (
      SELECT FROM pg_locks l
      JOIN pg_class c ON c.oid = l.relation
      JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE l.pid = a.pid AND l.granted AND n.nspname = :schema
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY a.xact_start
LIMIT 1
"""


def upgrade(database_url: str, schema: str = "scheduler") -> None:
    """Bring the schema to head, from a program without a running event loop; see `upgrade_async`."""
    asyncio.run(upgrade_async(database_url, schema))


async def upgrade_async(
    database_url: str, schema: str = "scheduler", *, give_up_seconds: float = GIVE_UP_SECONDS
) -> None:
    """Bring the schema to head. A schema that is one revision ahead of this code is left as it is.

    Parameters: database_url, where; schema, which (it is created if it is missing); give_up_seconds, for how long
    another process that migrates, and then each revision's locks, are waited for.
    Raises ServerUnreachableError, SchemaError; revisions that are done by then stay.
    """
    url = parse_url(database_url)
    check_schema_name(schema)
    engine = engine_of_single_sessions(url)
    try:
        # A look without any lock first: a database at head, a read-only one too, is left alone.
        if not await _is_behind(engine, schema):
            return
        await _require_unicode(engine)
        async with engine.connect() as guard:
            await _be_alone(guard, schema, give_up_seconds)
            while await _is_behind(engine, schema):
                await _take_a_step(engine, schema, give_up_seconds)
    except (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise explain_driver(error, url, schema) from error
    finally:
        await engine.dispose()


async def _is_behind(engine: AsyncEngine, schema: str) -> bool:
    async with engine.connect() as connection:
        current = await connection.run_sync(current_revision, schema)
    found = fit(current, head())
    if found is Fit.TOO_NEW:
        raise SchemaError(explain(schema, current, head()))
    return found in UPGRADABLE


async def _require_unicode(engine: AsyncEngine) -> None:
    """Refuse a database that can't hold what names, errors and arguments are written in, before anything is made."""
    async with engine.connect() as connection:
        name, encoding = (await connection.execute(text(ENCODING))).one()
    if encoding != "UTF8":
        raise SchemaError(
            f"the database {name!r} has the encoding {encoding}, and what jobs are called, are given and fail with is "
            "Unicode: nothing was made; CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and point database_url "
            "there"
        )


async def _be_alone(guard: AsyncConnection, schema: str, give_up_seconds: float) -> None:
    """Hold, in the guard's transaction, what lets one process at a time migrate."""
    key = {"key": advisory_key("migrate", schema)}
    deadline = asyncio.get_running_loop().time() + give_up_seconds
    while not (await guard.execute(text(TRY_LOCK), key)).scalar():
        await guard.rollback()
        if asyncio.get_running_loop().time() > deadline:
            holder = (await guard.execute(text(HOLDER), key)).first()
            who = "it has just ended" if holder is None else describe_holder(holder)
            raise SchemaError(
                f"another process has been migrating the schema {schema!r} for {give_up_seconds:.0f} s: {who}; look at "
                "what it waits for, then run `scheduler migrate` again"
            )
        await asyncio.sleep(POLL_SECONDS)
    await guard.execute(text(LET_GO_OF_THE_SNAPSHOT))


async def _take_a_step(engine: AsyncEngine, schema: str, give_up_seconds: float) -> None:
    """One revision, tried until its locks are there."""
    deadline = asyncio.get_running_loop().time() + give_up_seconds
    tries = 0
    while True:
        lock_timeout_ms = LOCK_TIMEOUTS_MS[tries % len(LOCK_TIMEOUTS_MS)]
        tries += 1
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(_one_revision, schema, lock_timeout_ms)
        except SQLAlchemyError as error:
            if sqlstate(error) not in (LOCK_NOT_AVAILABLE, DEADLOCK):
                raise
            if asyncio.get_running_loop().time() > deadline:
                raise SchemaError(await _who_is_in_the_way(engine, schema, give_up_seconds)) from error
        # Longer than was waited: what the claims lost, they catch up with.
        await asyncio.sleep(lock_timeout_ms / 1000 * random.uniform(1.0, 2.0))


def _one_revision(connection: Connection, schema: str, lock_timeout_ms: int) -> None:
    if current_revision(connection, schema) is None:
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    # Alembic begins and commits by itself: only so can a revision leave its transaction, as CONCURRENTLY demands.
    connection.commit()
    command.upgrade(configuration(schema, connection, lock_timeout_ms=lock_timeout_ms), "+1")


async def _who_is_in_the_way(engine: AsyncEngine, schema: str, give_up_seconds: float) -> str:
    async with engine.connect() as connection:
        current = await connection.run_sync(current_revision, schema)
        row = (await connection.execute(text(OLDEST_TRANSACTION), {"schema": schema})).first()
    who = (
        "others hold them"
        if row is None
        else f"session {row.pid} ({row.application_name or 'nameless'}, {row.state}) has been in a transaction for "
        f"{row.seconds} s: let it end, or SELECT pg_terminate_backend({row.pid})"
    )
    return (
        f"the schema {schema!r} stays at revision {current}: the next one's locks could not be had within "
        f"{give_up_seconds:.0f} s, and {who}; then run `scheduler migrate` again"
    )

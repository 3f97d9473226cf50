"""The schema's revision: which it is, whether this code works with it, and the way to another one.

The way up, beside a scheduler that fires, is `storage.postgres.upgrading`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeVar

import asyncpg
from alembic import command
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from scheduler_core.domain.errors import SchemaError
from scheduler_core.domain.revision import WORKABLE, Fit, fit
from scheduler_core.domain.revision import explain as explain_fit
from scheduler_core.storage.postgres.errors import explain
from scheduler_core.storage.postgres.revisions import (
    LOCK_TIMEOUTS_MS,
    STATEMENT_TIMEOUT,
    configuration,
    current_revision,
    head,
)
from scheduler_core.storage.postgres.schema_name import check_schema_name
from scheduler_core.storage.postgres.upgrading import upgrade, upgrade_async
from scheduler_core.storage.postgres.url import engine_of_single_sessions, parse_url

__all__ = ["check", "downgrade_async", "drift", "head", "revisions", "sql", "upgrade", "upgrade_async"]

T = TypeVar("T")


async def downgrade_async(database_url: str, schema: str = "scheduler", revision: str = "base") -> None:
    """Take the schema back to an earlier revision, `base` for none at all. History is lost with it."""

    def step(connection: Connection, name: str) -> None:
        command.downgrade(configuration(name, connection), revision)

    await _with_connection(database_url, schema, step)


async def revisions(database_url: str, schema: str = "scheduler") -> tuple[str | None, str]:
    """The schema's revision (None: there is no schema yet) and the one that this code needs."""
    return await _with_connection(database_url, schema, lambda c, s: (current_revision(c, s), head()))


async def check(database_url: str, schema: str = "scheduler") -> str | None:
    """Raise SchemaError, saying what to do, unless this code works with the schema.

    Returns what there is to say where the schema is one revision older or newer than the code; None where it is not.
    """
    current, own = await revisions(database_url, schema)
    found = fit(current, own)
    if found not in WORKABLE:
        raise SchemaError(explain_fit(schema, current, own))
    return None if found is Fit.EXACT else explain_fit(schema, current, own)


async def drift(database_url: str, schema: str = "scheduler") -> None:
    """Raise SchemaError if the migrated tables differ from `storage.postgres.schema` (Alembic's own check)."""

    def compare(connection: Connection, name: str) -> None:
        # Alembic compares the tables of the dialect's default schema.
        connection.dialect.default_schema_name = name
        try:
            with redirect_stdout(io.StringIO()):
                command.check(configuration(name, connection))
        except Exception as error:
            raise SchemaError(f"the tables differ from what the code expects: {error}") from error

    await _with_connection(database_url, schema, compare)


def sql(schema: str = "scheduler", since: str = "base", until: str = "head") -> str:
    """The statements that lead from one revision to another, to be read or run by hand.

    Parameters: since, the revision that the schema has, `base` for none; until, the one that it shall have.
    Raises SchemaError for a revision that there is not, or where there is nothing between the two.
    """
    out = io.StringIO()
    config = configuration(schema)
    config.output_buffer = out
    try:
        command.upgrade(config, f"{since}:{until}", sql=True)
    except CommandError as error:
        raise SchemaError(f"there is no way from revision {since!r} to {until!r}: {error}") from error
    return out.getvalue()


def configure_offline(context: Any, schema: str) -> None:
    """For `alembic/env.py`: print statements instead of running them."""
    check_schema_name(schema)
    context.configure(
        dialect_name="postgresql",
        literal_binds=True,
        version_table_schema=schema,
        scheduler_schema=schema,
        output_buffer=context.config.output_buffer,
        transaction_per_migration=True,
    )
    context.get_context().impl.static_output(f'CREATE SCHEMA IF NOT EXISTS "{schema}";')
    context.get_context().impl.static_output(f'SET search_path TO "{schema}";')
    context.get_context().impl.static_output(f"SET lock_timeout = '{LOCK_TIMEOUTS_MS[-1]}ms';")
    context.get_context().impl.static_output(f"SET statement_timeout = '{STATEMENT_TIMEOUT}';")
    context.get_context().impl.static_output("SET standard_conforming_strings = on;")


@contextmanager
def connection_for_alembic() -> Iterator[Connection]:
    """For Alembic's own command line: a connection by SCHEDULER_DATABASE_URL."""
    import os

    url = os.environ.get("SCHEDULER_DATABASE_URL")
    if not url:
        raise SchemaError("set SCHEDULER_DATABASE_URL, or use `scheduler migrate`")
    engine = create_engine(parse_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


async def _with_connection(database_url: str, schema: str, step: Callable[[Connection, str], T]) -> T:
    url = parse_url(database_url)
    check_schema_name(schema)
    engine = engine_of_single_sessions(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(step, schema)
    except (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise explain(error, url, schema) from error
    finally:
        await engine.dispose()

"""Bringing the schema to head: once, by whoever comes first, while others wait.

Any number of replicas may start at the same moment. An advisory lock of the transaction lets one migrate; the
others then find the work done. Statements that wait for a lock give up after `LOCK_TIMEOUT`, so that a migration
never queues every claim behind itself.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from scheduler_core.domain.errors import SchemaError
from storage.database import check_schema_name, explain, parse_url
from storage.keys import advisory_key

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "60s"
WAIT_FOR_OTHERS = "60s"

T = TypeVar("T")


def upgrade(database_url: str, schema: str = "scheduler") -> None:
    """Bring the schema to head, from a program without a running event loop.

    Parameters: database_url, where; schema, which (it is created if it is missing).
    Raises ServerUnreachableError, SchemaError.
    """
    asyncio.run(upgrade_async(database_url, schema))


async def upgrade_async(database_url: str, schema: str = "scheduler") -> None:
    """Bring the schema to head; see `upgrade`."""
    await _with_connection(database_url, schema, _upgrade)


async def downgrade_async(database_url: str, schema: str = "scheduler", revision: str = "base") -> None:
    """Take the schema back to an earlier revision, `base` for none at all. History is lost with it."""

    def step(connection: Connection, name: str) -> None:
        _enter_schema(connection, name)
        command.downgrade(_config(connection, name), revision)

    await _with_connection(database_url, schema, step)


async def revisions(database_url: str, schema: str = "scheduler") -> tuple[str | None, str]:
    """The schema's revision (None: there is no schema yet) and the one that this code needs."""
    return await _with_connection(database_url, schema, lambda c, s: (_current(c, s), head()))


async def check(database_url: str, schema: str = "scheduler") -> None:
    """Raise SchemaError, saying what to do, unless the schema is exactly what this code needs."""
    current, needed = await revisions(database_url, schema)
    if current == needed:
        return
    if current is None:
        raise SchemaError(f"there is no schema {schema!r} in this database yet: run `scheduler migrate`")
    if current not in _known():
        raise SchemaError(
            f"the schema {schema!r} is newer (revision {current}) than this version knows ({needed}): "
            "upgrade scheduler-core on this machine"
        )
    raise SchemaError(f"the schema {schema!r} is at revision {current} and {needed} is needed: run `scheduler migrate`")


async def drift(database_url: str, schema: str = "scheduler") -> None:
    """Raise SchemaError if the migrated tables differ from `storage.schema` (Alembic's own check)."""

    def compare(connection: Connection, name: str) -> None:
        _enter_schema(connection, name)
        # Alembic compares the tables of the dialect's default schema.
        connection.dialect.default_schema_name = name
        try:
            with redirect_stdout(io.StringIO()):
                command.check(_config(connection, name))
        except Exception as error:
            raise SchemaError(f"the tables differ from what the code expects: {error}") from error

    await _with_connection(database_url, schema, compare)


def sql(schema: str = "scheduler") -> str:
    """The statements that lead from nothing to head, to be read or run by hand."""
    out = io.StringIO()
    config = _config(None, schema)
    config.output_buffer = out
    command.upgrade(config, "head", sql=True)
    return out.getvalue()


def head() -> str:
    """The revision that this code needs."""
    found = ScriptDirectory.from_config(_config(None, "scheduler")).get_current_head()
    if found is None:
        raise SchemaError("this installation has no migrations: reinstall scheduler-core")
    return found


def configure_offline(context: Any, schema: str) -> None:
    """For `alembic/env.py`: print statements instead of running them."""
    check_schema_name(schema)
    context.configure(
        dialect_name="postgresql",
        literal_binds=True,
        version_table_schema=schema,
        scheduler_schema=schema,
        output_buffer=context.config.output_buffer,
    )
    context.get_context().impl.static_output(f'CREATE SCHEMA IF NOT EXISTS "{schema}";')
    context.get_context().impl.static_output(f'SET search_path TO "{schema}";')


@contextmanager
def connection_for_alembic() -> Iterator[Connection]:
    """For Alembic's own command line: a connection by SCHEDULER_DATABASE_URL and SCHEDULER_SCHEMA."""
    import os

    url = os.environ.get("SCHEDULER_DATABASE_URL")
    if not url:
        raise SchemaError("set SCHEDULER_DATABASE_URL, or use `scheduler migrate`")
    schema = os.environ.get("SCHEDULER_SCHEMA", "scheduler")
    engine = create_engine(parse_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        _enter_schema(connection, check_schema_name(schema))
        yield connection


def _folder() -> Path:
    """The migrations: beside this file in a wheel, at the root of the project in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "migrations", here.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise SchemaError("this installation has no migrations: reinstall scheduler-core")


def _config(connection: Connection | None, schema: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    config.attributes["schema"] = check_schema_name(schema)
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def _known() -> set[str]:
    script = ScriptDirectory.from_config(_config(None, "scheduler"))
    return {revision.revision for revision in script.walk_revisions()}


async def _with_connection(database_url: str, schema: str, step: Callable[[Connection, str], T]) -> T:
    url = parse_url(database_url)
    check_schema_name(schema)
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": 5.0})
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(step, schema)
    except (SQLAlchemyError, OSError) as error:
        raise explain(error, url, schema) from error
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, schema: str) -> None:
    # A look without any lock first: a database at head, a read-only one too, is left alone.
    if _current(connection, schema) == head():
        return
    _wait_for_others(connection, schema)
    current = _current(connection, schema)
    if current == head():
        return
    if current is not None and current not in _known():
        raise SchemaError(
            f"the schema {schema!r} is newer (revision {current}) than this version knows ({head()}): "
            "upgrade scheduler-core on this machine"
        )
    connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    _enter_schema(connection, schema)
    command.upgrade(_config(connection, schema), "head")


def _wait_for_others(connection: Connection, schema: str) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_FOR_OTHERS}'"))
    connection.execute(
        text("SELECT pg_advisory_xact_lock(CAST(:key AS bigint))"), {"key": advisory_key("migrate", schema)}
    )


def _enter_schema(connection: Connection, schema: str) -> None:
    connection.execute(text(f'SET LOCAL search_path TO "{schema}"'))
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))


def _current(connection: Connection, schema: str) -> str | None:
    table = f'"{schema}".alembic_version'
    exists = connection.execute(text("SELECT to_regclass(:name)"), {"name": table}).scalar()
    if exists is None:
        return None
    found = connection.execute(text(f"SELECT version_num FROM {table}")).scalar()
    return None if found is None else str(found)

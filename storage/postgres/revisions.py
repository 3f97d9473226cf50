"""Alembic's revisions and this code's configuration of it: what `migrate` and `upgrading` share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from scheduler_core.domain.errors import SchemaError
from scheduler_core.storage.postgres.schema_name import check_schema_name

LOCK_TIMEOUTS_MS = (200, 400, 800, 1_600)
"""How long a migration waits for a lock: all claims wait behind it. The last is longer than `deadlock_timeout`, after
which an autovacuum gives way; a leader keeps its lease through it."""

STATEMENT_TIMEOUT = "60s"


def head() -> str:
    """The revision that this code needs."""
    return _head_of(folder())


@cache
def _head_of(folder: Path) -> str:
    # Read once: Alembic executes each script for it.
    found = ScriptDirectory(folder).get_current_head()
    if found is None:
        raise SchemaError("this installation has no migrations: reinstall scheduler-core")
    return found


def configuration(
    schema: str, connection: Connection | None = None, *, lock_timeout_ms: int = LOCK_TIMEOUTS_MS[-1]
) -> Config:
    """Alembic's configuration for a schema, and for what is to be done on a connection, if on any."""
    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.attributes["schema"] = check_schema_name(schema)
    config.attributes["lock_timeout_ms"] = lock_timeout_ms
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def enter_schema(connection: Connection, schema: str, lock_timeout_ms: int = LOCK_TIMEOUTS_MS[-1]) -> None:
    """For `alembic/env.py`, inside each transaction of a migration: where names are found, how long is waited."""
    connection.execute(text(f'SET LOCAL search_path TO "{schema}"'))
    connection.execute(text(f"SET LOCAL lock_timeout = '{lock_timeout_ms}ms'"))
    connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
    # What a view holds was read once: with it off, a backslash in a pattern would be gone for good.
    connection.execute(text("SET LOCAL standard_conforming_strings = on"))


def current_revision(connection: Connection, schema: str) -> str | None:
    """The schema's revision, None where there is no schema yet. Takes no lock that anybody waits for."""
    table = f'"{schema}".alembic_version'
    exists = connection.execute(text("SELECT to_regclass(:name)"), {"name": table}).scalar()
    if exists is None:
        return None
    found = connection.execute(text(f"SELECT version_num FROM {table}")).scalar()
    return None if found is None else str(found)


def folder() -> Path:
    """The migrations: in the storage's folder in a wheel, at the root of the project in a checkout."""
    storage = Path(__file__).resolve().parents[1]
    for folder in (storage / "migrations", storage.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise SchemaError("this installation has no migrations: reinstall scheduler-core")

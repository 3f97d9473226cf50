"""Roles of a test's own that may log in. Roles are the cluster's, so their names hold the database's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
from waiting import eventually

Sql = psycopg.Connection[Any]


def url_as(sql: Sql, role: str) -> str:
    return f"postgresql://{role}:secret@{sql.info.host}:{sql.info.port}/{sql.info.dbname}"


@contextmanager
def login(sql: Sql, name: str, *options: str) -> Iterator[str]:
    """A role that may log in, for as long as the test needs it."""
    role = f"{name}_{sql.info.dbname}"
    forget(sql, role)
    sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' {' '.join(options)}")
    try:
        yield role
    finally:
        forget(sql, role)


def forget(sql: Sql, role: str) -> None:
    """The role, its rights, what it owns, and its sessions."""
    if sql.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None:
        sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role])
        sql.execute(f"DROP OWNED BY {role} CASCADE")
        sql.execute(f"DROP ROLE {role}")


WITNESSES = """
SELECT CAST(classid AS bigint) << 32 | CAST(objid AS bigint) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

STANDS_IN_LINE = "SELECT 1 FROM pg_locks WHERE pid = %s AND locktype = 'advisory' AND NOT granted"


@contextmanager
def in_line(sql: Sql, role: str) -> Iterator[None]:
    """A session of this role for each advisory lock that somebody holds: whoever may log in sees them, and may wait."""
    with ThreadPoolExecutor(32) as threads, contextlib.ExitStack() as stack:
        others = stack.enter_context(contextlib.closing(psycopg.connect(url_as(sql, role), autocommit=True)))
        for (key,) in others.execute(WITNESSES).fetchall():
            waiting = stack.enter_context(contextlib.closing(psycopg.connect(url_as(sql, role), autocommit=True)))
            pid = waiting.info.backend_pid
            stack.callback(sql.execute, "SELECT pg_terminate_backend(%s)", [pid])
            threads.submit(waiting.execute, "SELECT pg_advisory_lock(%s)", [key])
            eventually(lambda pid=pid: sql.execute(STANDS_IN_LINE, [pid]).fetchone(), what="a stranger in line")
        yield

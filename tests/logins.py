"""Roles of a test's own that may log in. Roles are the cluster's, so their names hold the database's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

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
    if sql.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None:
        sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role])
        sql.execute(f"DROP OWNED BY {role} CASCADE")
        sql.execute(f"DROP ROLE {role}")

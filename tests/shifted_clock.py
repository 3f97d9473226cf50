"""A database whose clock can be moved: its sessions find other `clock_timestamp`s before Postgres's own.

Sessions that are opened after `ShiftedClock` was made go by it; how far it is off is looked up with each call, and so
changes under their statements as the machine's clock would.
"""

from __future__ import annotations

from typing import Any

import psycopg

FUNCTIONS = ("clock_timestamp", "statement_timestamp", "transaction_timestamp", "now")

SHIFTED = """
CREATE FUNCTION shifted_clock.{name}() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT pg_catalog.{name}() + make_interval(secs => (SELECT seconds FROM shifted_clock.offset_of))
$$
"""


class ShiftedClock:
    """Parameters: sql, a session on the database; its own clock stays right."""

    def __init__(self, sql: psycopg.Connection[Any]) -> None:
        self._sql = sql
        sql.execute("CREATE SCHEMA shifted_clock")
        sql.execute("CREATE TABLE shifted_clock.offset_of AS SELECT 0.0::double precision AS seconds")
        for name in FUNCTIONS:
            sql.execute(SHIFTED.format(name=name))
        database = sql.info.dbname
        sql.execute(f'ALTER DATABASE "{database}" SET search_path TO shifted_clock, pg_catalog, "$user", public')

    def shift(self, seconds: float) -> None:
        """Have the clock show so much more than the true time from now on; 0: it is right."""
        self._sql.execute("UPDATE shifted_clock.offset_of SET seconds = %s", [seconds])

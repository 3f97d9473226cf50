"""A database whose time stands until a test moves it: each look at its clock is a microsecond later than the last one.

So no two instants are the same, as in the world, and the same steps find the same instants again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg

START = datetime(2030, 1, 7, tzinfo=UTC)
"""A Monday."""

FUNCTIONS = ("clock_timestamp", "statement_timestamp", "transaction_timestamp", "now")

STANDING = """
CREATE FUNCTION standing_clock.{name}() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT at + nextval('standing_clock.looks') * interval '1 microsecond' FROM standing_clock.moment
$$
"""

# Functions of the schema bring a search path of their own, in which pg_catalog comes first.
WITH_A_PATH = """
SELECT CAST(p.oid AS regprocedure), substring(setting FROM '=(.*)') AS path
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, unnest(p.proconfig) AS setting
WHERE n.nspname = 'scheduler' AND setting LIKE 'search_path=%'
"""

# So do the migrations, and with them what columns are given by default.
DEFAULTS = """
SELECT CAST(adrelid AS regclass), attname, replace(pg_get_expr(adbin, adrelid), 'pg_catalog.', '')
FROM pg_attrdef JOIN pg_attribute a ON a.attrelid = adrelid AND a.attnum = adnum
WHERE pg_get_expr(adbin, adrelid) LIKE '%clock_timestamp()%'
"""


class StandingClock:
    """Parameters: sql, in autocommit, on a database without the schema: what is made after this goes by it."""

    def __init__(self, sql: psycopg.Connection[Any]) -> None:
        self._sql = sql
        sql.execute("CREATE SCHEMA standing_clock")
        sql.execute("CREATE TABLE standing_clock.moment (at timestamptz NOT NULL)")
        sql.execute("INSERT INTO standing_clock.moment VALUES (%s)", [START])
        sql.execute("CREATE SEQUENCE standing_clock.looks")
        for name in FUNCTIONS:
            sql.execute(STANDING.format(name=name))
        path = 'standing_clock, pg_catalog, "$user", public'
        sql.execute(f'ALTER DATABASE "{sql.info.dbname}" SET search_path TO {path}')
        sql.execute(f"SET search_path TO {path}")

    def bind_schema(self) -> None:
        """Have what the schema does by itself go by it, once it is there."""
        for function, path in self._sql.execute(WITH_A_PATH).fetchall():
            self._sql.execute(f"ALTER FUNCTION {function} SET search_path TO standing_clock, pg_catalog, {path}")
        for table, column, default in self._sql.execute(DEFAULTS).fetchall():
            self._sql.execute(f"ALTER TABLE {table} ALTER {column} SET DEFAULT {default}")

    def begin_anew(self) -> None:
        """Put it back to the start."""
        self._sql.execute("SELECT setval('standing_clock.looks', 1)")
        self._sql.execute("UPDATE standing_clock.moment SET at = %s", [START])

    def move(self, seconds: float) -> None:
        """Have so much time pass."""
        self._sql.execute("UPDATE standing_clock.moment SET at = at + make_interval(secs => %s)", [seconds])

    def now(self) -> datetime:
        """A look at it."""
        row = self._sql.execute("SELECT standing_clock.clock_timestamp()").fetchone()
        assert row is not None
        return row[0].astimezone(UTC)

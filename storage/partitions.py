"""Partitions of the scheduler's own history: one day each, in UTC, of `runs` and `attempts`.

There is no DEFAULT partition (it forbids DETACH CONCURRENTLY), so a row for a day without one is refused; the
claim then creates the day and repeats itself. A partition is created and then attached: `PARTITION OF` would
lock the parent against every claim.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text

from storage.database import TABLE_EXISTS, Database
from storage.keys import advisory_key
from storage.schema import PARTITIONED


def partition_name(table: str, day: date) -> str:
    """`runs_20261123`."""
    return f"{table}_{day:%Y%m%d}"


class Partitions:
    """Creates the days that rows will need."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure_ahead(self, now: datetime, days_ahead: int) -> list[str]:
        """Have partitions from yesterday to `days_ahead` days from now."""
        today = now.astimezone(UTC)
        return await self.ensure(today + timedelta(days=n) for n in range(-1, days_ahead + 1))

    async def ensure(self, instants: Iterable[datetime]) -> list[str]:
        """Have a partition of each table for the day of each instant; returns the names of the new ones."""
        created: list[str] = []
        for day in sorted({instant.astimezone(UTC).date() for instant in instants}):
            for table in PARTITIONED:
                created += await self._create(table, day)
        return created

    async def _create(self, table: str, day: date) -> list[str]:
        name = partition_name(table, day)
        schema = self._database.schema
        first = datetime(day.year, day.month, day.day, tzinfo=UTC)
        last = first + timedelta(days=1)
        try:
            async with self._database.transaction() as connection:
                # Bounded, and one creator at a time: replicas that start together all come here.
                await connection.execute(text("SET LOCAL lock_timeout = '5s'"))
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(CAST(:key AS bigint))"),
                    {"key": advisory_key("partition", schema, table)},
                )
                found = await connection.execute(text(TABLE_EXISTS), {"schema": schema, "name": name})
                if found.scalar():
                    return []
                await connection.execute(
                    text(f'CREATE TABLE "{schema}"."{name}" (LIKE "{schema}"."{table}" INCLUDING ALL)')
                )
                await connection.execute(
                    text(
                        f'ALTER TABLE "{schema}"."{table}" ATTACH PARTITION "{schema}"."{name}" '
                        f"FOR VALUES FROM ('{first.isoformat()}') TO ('{last.isoformat()}')"
                    )
                )
        except Exception as error:
            raise self._database.explain(error) from error
        return [name]

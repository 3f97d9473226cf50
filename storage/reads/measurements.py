"""What measures ask Postgres: whether all that was due has ended, and how late it began."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from scheduler_core.storage.postgres.database import Database

# Two minima, each the first entry of an index: it is asked every few milliseconds while a round goes on.
EARLIEST_LEFT = """
SELECT clock_timestamp() AS now,
       (SELECT min(due_at) FROM {schema}.jobs) AS next_due_at,
       (SELECT min(job_id) FROM {schema}.runs
        WHERE status IN {unfinished}) AS unfinished
"""

RECORDED = """
SELECT count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
       coalesce(sum(coalesce(missed_count, 1)) FILTER (WHERE status <> 'succeeded'), 0)::bigint AS others
FROM {schema}.runs
WHERE scheduled_for >= CAST(:since AS timestamptz) AND scheduled_for < CAST(:until AS timestamptz)
"""

LATENESS = """
SELECT percentile_disc(CAST(:shares AS float8[]))
           WITHIN GROUP (ORDER BY extract(epoch FROM lateness)::float8 * 1000) AS lateness_ms
FROM "{plain_schema}_audit".runs
WHERE scheduled_for >= CAST(:since AS timestamptz) AND scheduled_for < CAST(:until AS timestamptz)
  AND status = 'succeeded'
"""


class MeasurementReader:
    """Questions about one measure's schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def left(self, until: datetime) -> tuple[datetime, bool]:
        """The database's time, and whether anything that is due by an instant has not ended."""
        row = await self._database.fetch_one(EARLIEST_LEFT)
        assert row is not None
        return row.now, row.unfinished is not None or (row.next_due_at is not None and row.next_due_at <= until)

    async def recorded(self, since: datetime, until: datetime) -> tuple[int, int]:
        """How many occurrences scheduled in [since, until) succeeded, and how many have ended, or wait, otherwise."""
        row = await self._database.fetch_one(RECORDED, {"since": since, "until": until})
        assert row is not None
        return int(row.succeeded), int(row.others)

    async def lateness_ms(self, percents: Sequence[float], since: datetime, until: datetime) -> list[float]:
        """Percentiles of the recorded lateness of what was scheduled in [since, until) and succeeded."""
        statement = LATENESS.replace("{plain_schema}", self._database.schema)
        shares = [percent / 100 for percent in percents]
        row = await self._database.fetch_one(statement, {"shares": shares, "since": since, "until": until})
        return [] if row is None or row.lateness_ms is None else [float(value) for value in row.lateness_ms]

    async def tidy(self) -> None:
        """Vacuum and analyze what was loaded in bulk: no user's table is younger than its statistics."""
        names = await self._database.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = :schema ORDER BY tablename",
            {"schema": self._database.schema},
        )
        schema = self._database.schema
        await self._database.run_alone([f'VACUUM ANALYZE "{schema}"."{row.tablename}"' for row in names])

"""Partitions of the scheduler's own history: one day each, in UTC, of `runs` and `attempts`.

There is no DEFAULT partition (it forbids DETACH CONCURRENTLY), so a row for a day without one is refused; the
claim then has the day created and repeats itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.tables.maintenance import TableStore

PATIENCE_SECONDS = 1.0
"""A claim waits for this; it is repeated anyway."""


class Partitions:
    """The days that rows need."""

    def __init__(self, database: Database) -> None:
        self._tables = TableStore(database, patience_seconds=PATIENCE_SECONDS)

    async def ensure(self, instants: Iterable[datetime]) -> list[str]:
        """Have a partition of each table for the day of each instant; returns the names of the new ones."""
        return await self._tables.ensure_history({instant.astimezone(UTC).date() for instant in instants})

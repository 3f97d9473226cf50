"""Listings a page at a time, each from where the last one ended: as cheap at the end as at the beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from storage.database import Database

# A run's id is ordered by its instant, and indexed: the latest runs of all jobs cost no sorting. Ids of runs made for
# one millisecond are in no order that means anything, but always in the same.
LATEST_RUNS = """
SELECT * FROM {audit}.runs
WHERE (CAST(:before AS uuid) IS NULL OR run_id < CAST(:before AS uuid))
  AND (CAST(:statuses AS text[]) IS NULL OR status = ANY(CAST(:statuses AS text[])))
  AND (CAST(:since AS timestamptz) IS NULL OR scheduled_for >= CAST(:since AS timestamptz))
  AND (CAST(:until AS timestamptz) IS NULL OR scheduled_for < CAST(:until AS timestamptz))
ORDER BY run_id DESC
LIMIT :limit
"""

RUNS_OF_JOB = """
SELECT * FROM {audit}.runs
WHERE job_id = :job_id
  AND (CAST(:before AS timestamptz) IS NULL OR scheduled_for < CAST(:before AS timestamptz))
  AND (CAST(:statuses AS text[]) IS NULL OR status = ANY(CAST(:statuses AS text[])))
  AND (CAST(:since AS timestamptz) IS NULL OR scheduled_for >= CAST(:since AS timestamptz))
  AND (CAST(:until AS timestamptz) IS NULL OR scheduled_for < CAST(:until AS timestamptz))
ORDER BY scheduled_for DESC
LIMIT :limit
"""

CHANGES = """
SELECT changed_at, job_id, version, action, actor, source, old, new, effective_at, reverted_to, database_user, change_id
FROM {audit}.job_changes
WHERE (CAST(:before AS bigint) IS NULL OR change_id < CAST(:before AS bigint))
  AND (CAST(:job_id AS text) IS NULL OR job_id = :job_id)
  AND (CAST(:since AS timestamptz) IS NULL OR changed_at >= CAST(:since AS timestamptz))
  AND (CAST(:until AS timestamptz) IS NULL OR changed_at <= CAST(:until AS timestamptz))
ORDER BY change_id DESC
LIMIT :limit
"""

TERMS = """
SELECT term, instance_id, host, acquired_at, ended_at, end_reason, leaderless_for
FROM {audit}.leadership
WHERE CAST(:before AS bigint) IS NULL OR term < CAST(:before AS bigint)
ORDER BY term DESC
LIMIT :limit
"""

CALENDARS = """
SELECT c.name, c.excluded_dates, c.excluded_weekdays, c.excluded_periods, c.note, c.version, c.created_at,
       c.updated_at, c.updated_by,
       (SELECT count(*) FROM {schema}.jobs j WHERE c.name = ANY(j.calendars)) AS job_count
FROM {schema}.calendars c
WHERE c.name > :after
ORDER BY c.name
LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs: of one job, with certain statuses, `scheduled_for` from `since` on and before `until`."""

    job_id: str | None = None
    statuses: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pages:
    """Reads on one database; never writes. Every `before` and `after` is where the last page ended, itself left out."""

    database: Database

    async def runs(self, wanted: RunFilter, *, before: UUID | datetime | None, limit: int) -> list[dict[str, Any]]:
        """The latest runs first.

        Parameters: before, of one job's runs an instant, else a run_id.
        """
        parameters: dict[str, Any] = {
            "statuses": list(wanted.statuses) if wanted.statuses else None,
            "since": wanted.since,
            "until": wanted.until,
            "before": before,
            "limit": limit,
        }
        if wanted.job_id is None:
            return await self._rows(LATEST_RUNS, parameters)
        return await self._rows(RUNS_OF_JOB, parameters | {"job_id": wanted.job_id})

    async def changes(
        self, *, job_id: str | None, since: datetime | None, until: datetime | None, before: int | None, limit: int
    ) -> list[dict[str, Any]]:
        """The log of changes, the latest first."""
        parameters = {"job_id": job_id, "since": since, "until": until, "before": before, "limit": limit}
        return await self._rows(CHANGES, parameters)

    async def terms(self, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Who led, the latest first."""
        return await self._rows(TERMS, {"before": before, "limit": limit})

    async def calendars(self, *, after: str, limit: int) -> list[dict[str, Any]]:
        """Calendars by name."""
        return await self._rows(CALENDARS, {"after": after, "limit": limit})

    async def _rows(self, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        audit = statement.replace("{audit}", f'"{self.database.schema}_audit"')
        return [dict(row.items()) for row in await self.database.fetch(audit, parameters)]

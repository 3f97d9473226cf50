"""Listings a page at a time, each from where the last one ended: as cheap at the end as at the beginning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduler_core.domain.runs.run_filter import RunFilter
from scheduler_core.storage.postgres.database import Database

# A run's id begins with its instant. No index is in their order (each fire would have to keep it up); a summary of
# pages finds those of a span, and the bounds of `scheduled_for`, a day wider than the span, leave most partitions out:
# they hold also where the clocks of a replica and of the database differ. Ids of runs made for one millisecond are in
# no order that means anything, but always in the same.
LATEST_RUNS = """
SELECT * FROM {audit}.runs
WHERE run_id < CAST(:before AS uuid) AND run_id >= CAST(:first AS uuid)
  AND scheduled_for >= CAST(:earliest AS timestamptz) AND scheduled_for <= CAST(:latest AS timestamptz)
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


FIRST_SPAN = timedelta(minutes=1)
GROWTH = 8
SPANS = 7
"""The last one reaches back to the beginning; the one before it, to 26 days."""
SLACK = timedelta(days=1)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9998, 1, 1, tzinfo=UTC)
LAST_ID = UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True)
class Span:
    """Ids from `first` on and before `before`, of runs that are scheduled from `earliest` to `latest`."""

    before: UUID
    first: UUID
    earliest: datetime
    latest: datetime


def spans(before: UUID | None, since: datetime | None, until: datetime | None, now: datetime) -> Iterator[Span]:
    """Where to look for the latest runs, one span after the other without a gap.

    Parameters: before, the last id of the page before; since and until, of `scheduled_for`; now, roughly.
    """
    upper = before or (LAST_ID if until is None else _first_id_at(until + SLACK))
    instant = now if before is None and until is None else min(now, _instant_of(upper))
    end = END if before is None and until is None else _instant_of(upper) + SLACK
    floor = BEGINNING if since is None else max(since - SLACK, BEGINNING)
    length = FIRST_SPAN
    for number in range(1, SPANS + 1):
        start = floor if number == SPANS else max(instant - length, floor)
        yield Span(upper, _first_id_at(start), max(start - SLACK, BEGINNING), end)
        if start <= floor:
            return
        upper, instant, end = _first_id_at(start), start, start + SLACK
        length *= GROWTH


def _first_id_at(instant: datetime) -> UUID:
    return UUID(int=int(instant.timestamp() * 1000) << 80)


def _instant_of(run_id: UUID) -> datetime:
    """What an id begins with; one that is none of ours may begin with anything."""
    return BEGINNING + timedelta(milliseconds=min(run_id.int >> 80, int(END.timestamp() * 1000)))


@dataclass(frozen=True, slots=True)
class Pages:
    """Reads on one database; never writes. Every `before` and `after` is where the last page ended, itself left out."""

    database: Database

    async def runs(self, wanted: RunFilter, *, before: UUID | datetime | None, limit: int) -> list[dict[str, Any]]:
        """The latest runs first.

        Parameters: before, of one job's runs an instant, else a run_id.
        """
        if wanted.job_id is None:
            assert not isinstance(before, datetime)
            return await self._latest_runs(wanted, before, limit)
        parameters: dict[str, Any] = {
            "statuses": list(wanted.statuses) if wanted.statuses else None,
            "since": wanted.since,
            "until": wanted.until,
            "before": before,
            "limit": limit,
        }
        return await self._rows(RUNS_OF_JOB, parameters | {"job_id": wanted.job_id})

    async def _latest_runs(self, wanted: RunFilter, before: UUID | None, limit: int) -> list[dict[str, Any]]:
        """Looked for in spans that grow, from the newest on: where much runs, the first holds enough."""
        found: list[dict[str, Any]] = []
        for span in spans(before, wanted.since, wanted.until, datetime.now(UTC)):
            found += await self._rows(
                LATEST_RUNS,
                {
                    "before": span.before,
                    "first": span.first,
                    "earliest": span.earliest,
                    "latest": span.latest,
                    "statuses": list(wanted.statuses) if wanted.statuses else None,
                    "since": wanted.since,
                    "until": wanted.until,
                    "limit": limit - len(found),
                },
            )
            if len(found) >= limit:
                break
        return found

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

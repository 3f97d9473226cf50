"""The table `calendars`: read with the jobs that name them, and changed by operators and code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler_core.domain.access.actor import Actor
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.errors import InvalidCalendarError
from scheduler_core.ports.jobs import RemovedCalendar, StoredCalendar
from scheduler_core.storage.jobs.changes import TELL, telling
from scheduler_core.storage.postgres.database import Database, Row
from scheduler_core.storage.postgres.keys import NUDGE_CHANNEL

LOAD_CALENDARS = """
SELECT name, excluded_dates, excluded_weekdays, excluded_periods, note, version
FROM {schema}.calendars
WHERE CAST(:names AS text[]) IS NULL OR name = ANY(CAST(:names AS text[]))
ORDER BY name
"""

# Names the state of all calendars at once, whoever wrote it, a person with psql included: xmin is the transaction
# that wrote a row last. The leader compares it in each question for what is due.
REVISION = """
(SELECT coalesce(md5(string_agg(name || ' ' || xmin, ',' ORDER BY name)), '') FROM {schema}.calendars)
"""

# One of several writers wins `version`; a calendar that says the same already is left alone. Jobs that this calendar
# keeps waiting (counted a minute at a time, or waiting for a calendar that was missing) are looked at now: their
# version rises, so that a claim that was planned before finds nothing.
SAVE = f"""
WITH saved AS (
    INSERT INTO {{schema}}.calendars AS c (name, excluded_dates, excluded_weekdays, excluded_periods, note, updated_by)
    SELECT :name, CAST(:excluded_dates AS jsonb), CAST(:excluded_weekdays AS text[]),
           CAST(:excluded_periods AS jsonb), :note, :updated_by
    WHERE CAST(:version AS bigint) IS NULL OR :version = 0
       OR EXISTS (SELECT FROM {{schema}}.calendars WHERE name = :name)
    ON CONFLICT (name) DO UPDATE
    SET excluded_dates = excluded.excluded_dates, excluded_weekdays = excluded.excluded_weekdays,
        excluded_periods = excluded.excluded_periods, note = excluded.note, version = c.version + 1,
        updated_at = clock_timestamp(), updated_by = excluded.updated_by
    WHERE (CAST(:version AS bigint) IS NULL OR c.version = :version)
      AND (c.excluded_dates, c.excluded_weekdays, c.excluded_periods, c.note)
          IS DISTINCT FROM
          (excluded.excluded_dates, excluded.excluded_weekdays, excluded.excluded_periods, excluded.note)
    RETURNING name
), waiting AS (
    SELECT job_id FROM {{schema}}.jobs
    WHERE :name = ANY(calendars) AND due_at > next_run + make_interval(secs => jitter)
      AND (paused_at IS NULL OR paused_until <= clock_timestamp())
      AND EXISTS (SELECT FROM saved)
    ORDER BY job_id COLLATE "C"
    FOR NO KEY UPDATE
), woken AS (
    UPDATE {{schema}}.jobs SET due_at = next_run, version = version + 1
    WHERE job_id IN (SELECT job_id FROM waiting)
    RETURNING job_id
), nudged AS (
    SELECT pg_notify('{NUDGE_CHANNEL}', :schema || ':') FROM saved
)
SELECT (SELECT count(*) FROM saved) AS saved, (SELECT count(*) FROM woken) AS woken,
       (SELECT count(*) FROM nudged) AS nudged,
       {TELL}
"""

# A job that is declared at this very moment may still come to name a calendar that goes here: it then waits, and the
# doctor says for what.
REMOVE = f"""
WITH naming AS (
    SELECT job_id FROM {{schema}}.jobs WHERE :name = ANY(calendars)
), removed AS (
    DELETE FROM {{schema}}.calendars WHERE name = :name AND NOT EXISTS (SELECT FROM naming)
    RETURNING name
), nudged AS (
    SELECT pg_notify('{NUDGE_CHANNEL}', :schema || ':') FROM removed
)
SELECT EXISTS (SELECT FROM {{schema}}.calendars WHERE name = :name) AS existed,
       (SELECT count(*) FROM naming) AS job_count,
       ARRAY(SELECT job_id FROM naming ORDER BY job_id LIMIT :shown) AS job_ids,
       (SELECT count(*) FROM nudged) AS nudged,
       {TELL}
"""

LIST = """
SELECT c.*,
       (SELECT count(*) FROM {schema}.jobs j WHERE c.name = ANY(j.calendars)) AS job_count,
       ARRAY(SELECT j.job_id FROM {schema}.jobs j WHERE c.name = ANY(j.calendars) ORDER BY j.job_id LIMIT :shown)
           AS job_ids
FROM {schema}.calendars c
WHERE CAST(:names AS text[]) IS NULL OR c.name = ANY(CAST(:names AS text[]))
ORDER BY c.name
LIMIT :limit
"""

JOBS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class CalendarStore:
    """Calendars on one database."""

    database: Database

    async def revision(self) -> str:
        """Differs after any change of any calendar."""
        row = await self.database.fetch_one(f"SELECT {REVISION} AS revision")
        assert row is not None
        revision: str = row.revision
        return revision

    async def load(self, names: Iterable[str] | None = None) -> dict[str, StoredCalendar]:
        """The calendars of these names (None: all), by name, as far as they exist and can be read."""
        rows = await self.database.fetch(LOAD_CALENDARS, {"names": None if names is None else list(names)})
        readable: dict[str, StoredCalendar] = {}
        for row in rows:
            calendar = stored_calendar(row)
            if calendar is not None:
                readable[row.name] = StoredCalendar(calendar, row.version)
        return readable

    async def save(self, calendar: Calendar, *, version: int | None, actor: Actor) -> bool:
        """Store a calendar in place of the one that has this version.

        Parameters: version, 0 for a new one, None for whatever is there. Returns False if nothing was changed: the
        version has moved on, or the calendar says the same already.
        """
        row = await self.database.fetch_one(
            SAVE,
            {
                "name": calendar.name,
                "excluded_dates": json.dumps(
                    {day.isoformat(): text for day, text in calendar.excluded_dates.items()}, ensure_ascii=False
                ),
                "excluded_weekdays": list(calendar.excluded_weekdays),
                "excluded_periods": json.dumps(
                    [[start.isoformat(), until.isoformat()] for start, until in calendar.excluded_periods]
                ),
                "note": calendar.note,
                "version": version,
                "updated_by": actor.name,
                "schema": self.database.schema,
                **telling(actor),
            },
        )
        return row is not None and row.saved == 1

    async def remove(self, name: str, actor: Actor) -> RemovedCalendar:
        """Remove a calendar unless jobs name it."""
        parameters = {"name": name, "shown": JOBS_SHOWN, "schema": self.database.schema, **telling(actor)}
        row = await self.database.fetch_one(REMOVE, parameters)
        assert row is not None
        return RemovedCalendar(row.existed, row.job_count, tuple(row.job_ids))

    async def listed(self, names: Sequence[str] | None = None, *, limit: int = 1_000) -> list[dict[str, Any]]:
        """The rows as people ask for them, with the first of the jobs that name each."""
        rows = await self.database.fetch(LIST, {"names": names, "shown": JOBS_SHOWN, "limit": limit})
        return [dict(row) for row in rows]


def stored_calendar(row: Row) -> Calendar | None:
    """A row as a calendar; None if it can't be read: it may have been edited by hand."""
    try:
        return Calendar(row.name, row.excluded_dates, row.excluded_weekdays, row.excluded_periods, row.note)
    except (InvalidCalendarError, TypeError):
        return None

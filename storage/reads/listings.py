"""What the dashboard lists beside `pages`: jobs with their last runs, failed attempts, the logs of changes.

Cursors, never offsets, so that a page costs what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scheduler_core.domain.page import Page, page_from
from scheduler_core.storage.postgres.database import Database

# States that a listing can be narrowed to. Each is a condition on `jobs j`, and what it needs is in the row.
JOB_STATES: Mapping[str, str] = {
    "any": "true",
    "active": "j.enabled AND j.paused_at IS NULL AND j.auto_disabled_at IS NULL AND j.finished_at IS NULL",
    "paused": "j.paused_at IS NOT NULL",
    "disabled": "(NOT j.enabled OR j.auto_disabled_at IS NOT NULL)",
    "failing": "j.consecutive_failures > 0",
    "overdue": "j.due_at < statement_timestamp() - make_interval(secs => :overdue)",
    "finished": "j.finished_at IS NOT NULL",
}

JOBS = """
SELECT j.job_id, j.name, j.schedule_type, j.schedule_value, j.timezone, j.enabled, j.paused_at, j.paused_until,
       j.paused_by, j.pause_note, j.auto_disabled_at, j.finished_at, j.next_run, j.due_at, j.last_run, j.last_status,
       j.last_error, j.run_count, j.error_count, j.consecutive_failures, j.tags, j.version
FROM {schema}.jobs j
WHERE j.job_id > :after
  AND (:search = '' OR strpos(lower(j.job_id), :search) > 0 OR strpos(lower(j.name), :search) > 0
       OR :search = ANY(j.tags))
  AND <state>
ORDER BY j.job_id
LIMIT :limit
"""

JOB = """
SELECT * FROM {schema}.jobs WHERE job_id = :job_id
"""

# One probe of the unique index per job, newest partition first.
STRIPS = """
SELECT asked.job_id, r.run_id, r.scheduled_for, r.status, r.reason, r.missed_count
FROM unnest(CAST(:job_ids AS text[])) AS asked (job_id)
CROSS JOIN LATERAL (
    SELECT run_id, scheduled_for, status, reason, missed_count FROM {schema}.runs
    WHERE job_id = asked.job_id ORDER BY scheduled_for DESC LIMIT :count
) AS r
"""

JOB_ATTEMPTS = """
SELECT run_id, scheduled_for, attempt, started_at, finished_at, outcome, error_type, error_message, traceback, term,
       instance_id, late
FROM {schema}.attempts
WHERE job_id = :job_id
ORDER BY scheduled_for DESC, attempt DESC
LIMIT :limit
"""

CHANGES = """
SELECT change_id, changed_at, job_id, version, action, actor, source, old, new, effective_at, reverted_to
FROM {audit}.job_changes
WHERE change_id < :before
  AND (CAST(:job_id AS text) IS NULL OR job_id = :job_id)
  AND (CAST(:source AS text) IS NULL OR source = :source)
  AND (CAST(:action AS text) IS NULL OR action = :action)
ORDER BY change_id DESC
LIMIT :limit
"""

CALENDAR_CHANGES = """
SELECT change_id, changed_at, name, version, action, actor, source, old, new
FROM {audit}.calendar_changes
WHERE change_id < :before AND (CAST(:name AS text) IS NULL OR name = :name)
ORDER BY change_id DESC
LIMIT :limit
"""

HELD_JOBS = """
SELECT job_id, name, paused_at, paused_until, paused_by, pause_note, auto_disabled_at, consecutive_failures, last_error
FROM {schema}.jobs
WHERE paused_at IS NOT NULL OR auto_disabled_at IS NOT NULL
ORDER BY greatest(paused_at, auto_disabled_at) DESC, job_id
LIMIT :limit
"""

LAST_NUMBER = (1 << 63) - 1


class Listings:
    """Pages of what there is; never writes. Cursors are what the page before gave; a wrong one is a ValueError.

    Parameters: overdue_seconds, how late a job is that is overdue.
    """

    def __init__(self, database: Database, *, overdue_seconds: float) -> None:
        self._database = database
        self._overdue_seconds = overdue_seconds

    async def jobs(self, *, search: str = "", state: str = "any", after: str = "", limit: int = 50) -> Page:
        """Jobs by id.

        Parameters: search, a part of id or name, or a whole tag; state, one of JOB_STATES.
        """
        statement = JOBS.replace("<state>", JOB_STATES[state])
        wanted = {"search": search.lower(), "after": after, "limit": limit + 1, "overdue": self._overdue_seconds}
        return page_from(await self._rows(statement, **wanted), limit, "job_id")

    async def job(self, job_id: str) -> dict[str, Any] | None:
        """One job's whole row."""
        rows = await self._rows(JOB, job_id=job_id)
        return rows[0] if rows else None

    async def strips(self, job_ids: Sequence[str], *, count: int = 20) -> dict[str, list[dict[str, Any]]]:
        """job_id → its last runs, the oldest of them first."""
        strips: dict[str, list[dict[str, Any]]] = {job_id: [] for job_id in job_ids}
        for row in await self._rows(STRIPS, job_ids=list(job_ids), count=count):
            strips[row["job_id"]].append(row)
        return {job_id: runs[::-1] for job_id, runs in strips.items()}

    async def attempts_of_job(self, job_id: str, *, limit: int = 20) -> list[dict[str, Any]]:
        """A job's failed, lost and late attempts, the latest first, with their tracebacks."""
        return await self._rows(JOB_ATTEMPTS, job_id=job_id, limit=limit)

    async def changes(
        self,
        *,
        job_id: str | None = None,
        source: str | None = None,
        action: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Page:
        """The log of changes of jobs, the latest first."""
        rows = await self._rows(
            CHANGES, job_id=job_id, source=source, action=action, before=_number(before), limit=limit + 1
        )
        return page_from(rows, limit, "change_id")

    async def calendar_changes(self, *, name: str | None = None, before: str | None = None, limit: int = 50) -> Page:
        """The log of changes of calendars, the latest first."""
        rows = await self._rows(CALENDAR_CHANGES, name=name, before=_number(before), limit=limit + 1)
        return page_from(rows, limit, "change_id")

    async def held_jobs(self, *, limit: int = 200) -> list[dict[str, Any]]:
        """Jobs that are paused, or were disabled after failures; the latest first."""
        return await self._rows(HELD_JOBS, limit=limit)

    async def _rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        audit = statement.replace("{audit}", f'"{self._database.schema}_audit"')
        return [dict(row) for row in await self._database.fetch(audit, parameters)]


def _number(cursor: str | None) -> int:
    number = LAST_NUMBER if cursor is None else int(cursor)
    if not -LAST_NUMBER <= number <= LAST_NUMBER:
        raise ValueError("a cursor's number is out of range")
    return number

"""The run history page by page: any amount of it, in constant memory, and no transaction between two pages.

A cursor would pin one snapshot for as long as the slowest reader takes, and vacuum would wait for it. Each page is a
statement of its own instead, which begins behind the last row of the one before. Rows come by day (UTC), in a day by
job, in a job by `scheduled_for`: the order of the unique index of the day's partition, so a page costs what it holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from scheduler_core.domain.errors import SchemaError, ServerUnreachableError
from scheduler_core.domain.runs.run_filter import Selection
from scheduler_core.storage.postgres.database import Database

PAGE_ROWS = 2_000
READ_ATTEMPTS = 6
"""A page that was not answered is asked for again, within about ten seconds: reading twice does no harm."""

# By the catalog, which a role that may read only the views can read too.
COLUMNS = """
SELECT a.attname AS name
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :audit AND c.relname = 'runs' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

DAYS = """
SELECT to_date(right(p.relname, 8), 'YYYYMMDD') AS day
FROM pg_inherits i
JOIN pg_class p ON p.oid = i.inhrelid
JOIN pg_class c ON c.oid = i.inhparent
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relname = 'runs' AND p.relname ~ '^runs_[0-9]{8}$'
ORDER BY day
"""

# Both bounds of `scheduled_for` lie in one day: one partition is read, by its unique index (job_id, scheduled_for),
# whatever kind of plan the server settles on; hence a clause of its own for one job.
PAGE = """
SELECT * FROM {audit}.runs
WHERE scheduled_for >= CAST(:since AS timestamptz) AND scheduled_for < CAST(:until AS timestamptz)
  AND (job_id, scheduled_for) > (CAST(:after_job_id AS text), CAST(:after AS timestamptz))
  {of_job}
  AND (CAST(:statuses AS text[]) IS NULL OR status = ANY(CAST(:statuses AS text[])))
ORDER BY job_id, scheduled_for
LIMIT :limit
"""

OF_JOB = "AND job_id = CAST(:job_id AS text)"


class RunExport:
    """Reads `{schema}_audit.runs`, as its columns are."""

    def __init__(self, database: Database, *, page_rows: int = PAGE_ROWS) -> None:
        self._database = database
        self._page_rows = page_rows

    async def columns(self) -> list[str]:
        """The view's columns in order. Raises SchemaError without the view."""
        rows = await self._database.fetch(COLUMNS, {"audit": f"{self._database.schema}_audit"})
        if not rows:
            raise SchemaError(f"there is no view {self._database.schema}_audit.runs yet: run `scheduler migrate`")
        return [row.name for row in rows]

    async def days(self, selection: Selection) -> list[date]:
        """The days of the selection for which history is kept."""
        first, last = _day(selection.since), _day(selection.until - datetime.resolution)
        rows = await self._database.fetch(DAYS, {"schema": self._database.schema})
        return [row.day for row in rows if first <= row.day <= last]

    async def pages(self, selection: Selection, day: date) -> AsyncIterator[Sequence[Sequence[Any]]]:
        """The selected rows of one day, a page at a time; each row as it stands when its page is read.

        Raises ServerUnreachableError once the server has been silent for several attempts.
        """
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        one_job = {} if selection.job_id is None else {"job_id": selection.job_id}
        parameters = one_job | {
            "since": max(selection.since, begin),
            "until": min(selection.until, begin + timedelta(days=1)),
            "statuses": list(selection.statuses) if selection.statuses else None,
            "after_job_id": "",
            "after": begin,
            "limit": self._page_rows,
        }
        while True:
            page = await self._read(parameters)
            if page:
                yield page
            if len(page) < self._page_rows:
                return
            parameters |= {"after_job_id": page[-1].job_id, "after": page[-1].scheduled_for}

    async def _read(self, parameters: dict[str, Any]) -> Sequence[Any]:
        statement = PAGE.replace("{audit}", f'"{self._database.schema}_audit"')
        statement = statement.replace("{of_job}", OF_JOB if "job_id" in parameters else "")
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(READ_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            retry=retry_if_exception_type(ServerUnreachableError),
            reraise=True,
        ):
            with attempt:
                return await self._database.fetch(statement, parameters)
        raise AssertionError("unreachable")


def _day(instant: datetime) -> date:
    return instant.astimezone(UTC).date()

"""The questions that auditors ask, as statements on the views of `{schema}_audit`; each can be printed and pasted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler_core.domain.audit_filter import AuditFilter
from scheduler_core.domain.planning.segments import TICK
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.reads import gaps
from scheduler_core.storage.reads.duplicates import DUPLICATES
from scheduler_core.storage.reads.gaps import GapReport, GapStore, kept_window

CHANGES = """
SELECT changed_at, job_id, version, action, actor, source, old, new, effective_at, reverted_to, database_user
FROM {audit}.job_changes
WHERE (CAST(:job_id AS text) IS NULL OR job_id = :job_id)
  AND (CAST(:since AS timestamptz) IS NULL OR changed_at >= :since)
  AND (CAST(:until AS timestamptz) IS NULL OR changed_at <= :until)
ORDER BY changed_at DESC, change_id DESC
LIMIT :limit
"""

LEADERSHIP = """
SELECT term, instance_id, host, acquired_at, ended_at, end_reason, leaderless_for
FROM {audit}.leadership
WHERE (CAST(:since AS timestamptz) IS NULL OR coalesce(ended_at, 'infinity') >= :since)
  AND (CAST(:until AS timestamptz) IS NULL OR acquired_at <= :until)
ORDER BY term DESC
LIMIT :limit
"""

READER_EXISTS = """
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role) AS found
"""


@dataclass(frozen=True, slots=True)
class Auditor:
    """The questions, on one database. A role that reads only the views may ask all of them."""

    database: Database
    history_days: int

    async def changes(self, filters: AuditFilter) -> list[dict[str, Any]]:
        """The log of changes, the latest first."""
        return await self._rows(CHANGES, _parameters(filters))

    async def leadership(self, filters: AuditFilter) -> list[dict[str, Any]]:
        """The terms that reach into the window, the latest first."""
        return await self._rows(LEADERSHIP, _parameters(filters, job=False))

    async def duplicates(self, filters: AuditFilter) -> list[dict[str, Any]]:
        """Occurrences with several rows, or whose record betrays a second call; the latest first.

        Asked day by day, so that no statement is long.
        """
        start, end = await self._window(filters)
        found: list[dict[str, Any]] = []
        while end >= start and len(found) < filters.limit:
            midnight = end.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            day = replace(filters, since=max(start, midnight), until=end, limit=filters.limit - len(found))
            found += await self._rows(DUPLICATES, _parameters(day))
            end = midnight - TICK
        return found

    async def gaps(self, filters: AuditFilter) -> GapReport:
        """Occurrences that nothing accounts for."""
        store = GapStore(self.database, self.history_days)
        return await store.find(job_id=filters.job_id, since=filters.since, until=filters.until, limit=filters.limit)

    async def how_to_create_reader(self) -> str | None:
        """The statements that an administrator runs, if the role that reads only the views does not exist yet."""
        schema = self.database.schema
        role = f"{schema}_audit_reader"
        row = await self.database.fetch_one(READER_EXISTS, {"role": role})
        if row is not None and row.found:
            return None
        return (
            f'CREATE ROLE "{role}" NOLOGIN; GRANT USAGE ON SCHEMA "{schema}_audit" TO "{role}"; '
            f'GRANT SELECT ON ALL TABLES IN SCHEMA "{schema}_audit" TO "{role}";'
        )

    def sql(self, question: str, filters: AuditFilter) -> str:
        """What a question asks, as statements to paste into psql."""
        if question == "gaps":
            return self._sql_of_gaps(filters)
        template = {"changes": CHANGES, "leadership": LEADERSHIP, "duplicates": DUPLICATES}[question]
        return self._pasteable(template, _parameters(filters))

    def _sql_of_gaps(self, filters: AuditFilter) -> str:
        start, end = kept_window(datetime.now(UTC), self.history_days, filters.since, filters.until)
        ends = f'FROM "{self.database.schema}_audit".job_changes'
        first: Any = filters.job_id or _Expression(f"(SELECT min(job_id) {ends})")
        last: Any = filters.job_id or _Expression(f"(SELECT max(job_id) {ends})")
        page = {"first": first, "last": last, "limit": gaps.ROWS_AT_ONCE}
        parts = (
            "-- Which instants each definition owed is computed from these by arithmetic, page by page; what no row",
            "-- accounts for is a gap. First the jobs, with how far each claims to be accounted for:",
            self._pasteable(gaps.JOBS, {"after": "", "job_id": filters.job_id, "limit": gaps.JOBS_AT_ONCE}),
            "-- then what they were, and from when on:",
            self._pasteable(gaps.LOG, {**page, "after": "", "after_version": 0}),
            "-- then what accounts for occurrences:",
            self._pasteable(
                gaps.ROWS,
                {
                    **page,
                    "start": start,
                    "before_end": gaps.END_OF_TIME,
                    "end": end,
                    "before": last,
                    "before_at": gaps.END_OF_TIME,
                },
            ),
        )
        return "\n".join(parts)

    def _pasteable(self, template: str, parameters: Mapping[str, Any]) -> str:
        text = self._named(template).strip()
        return re.sub(r"(?<!:):([a-z_]+)", lambda found: _literal(parameters[found.group(1)]), text) + ";"

    async def _window(self, filters: AuditFilter) -> tuple[datetime, datetime]:
        now = await self.database.now()
        # A run may be scheduled ahead of now by what is claimed in advance.
        start, _ = kept_window(now, self.history_days, filters.since, None)
        latest = now + timedelta(minutes=1)
        return start, min(filters.until or latest, latest)

    async def _rows(self, template: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows: Sequence[Any] = await self.database.fetch(self._named(template), parameters)
        return [dict(row) for row in rows]

    def _named(self, template: str) -> str:
        return template.replace("{audit}", f'"{self.database.schema}_audit"')


def _parameters(filters: AuditFilter, *, job: bool = True) -> dict[str, Any]:
    asked = {"since": filters.since, "until": filters.until, "limit": filters.limit}
    return asked | {"job_id": filters.job_id} if job else asked


class _Expression(str):
    """SQL that stands for itself."""


def _literal(value: Any) -> str:
    if isinstance(value, _Expression):
        return value
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        return f"TIMESTAMPTZ '{value.astimezone(UTC).isoformat()}'"
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'"

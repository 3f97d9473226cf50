"""Reading for `scheduler audit gaps`: the log, the cursors and the rows, streamed past `domain.gaps`.

Nothing is held but one page of jobs and one page of rows. Only the views are read, so that whoever may read those may
ask. Cursors come before the log, and the log before the rows: a job that moves meanwhile has more rows than are asked
for, never fewer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler_core.domain.planning.gaps import Change, Gap, GapFinder, JobHistory
from scheduler_core.domain.planning.segments import TICK
from scheduler_core.storage.postgres.database import Database, Row

# Jobs that are there and jobs that were. Each half stops at the limit along an index.
JOBS = """
SELECT ids.job_id, j.next_run, j.name, j.schedule_type, j.schedule_value, j.timezone,
       j.job_id IS NOT NULL AS is_there, clock_timestamp() AS now
FROM (
    (SELECT DISTINCT job_id FROM {audit}.job_changes
     WHERE job_id > :after AND (CAST(:job_id AS text) IS NULL OR job_id = :job_id) ORDER BY job_id LIMIT :limit)
    UNION
    (SELECT job_id FROM {audit}.jobs
     WHERE job_id > :after AND (CAST(:job_id AS text) IS NULL OR job_id = :job_id) ORDER BY job_id LIMIT :limit)
) AS ids
LEFT JOIN {audit}.jobs j USING (job_id)
ORDER BY ids.job_id
LIMIT :limit
"""

# What each job was, and from when on.
LOG = """
SELECT job_id, version, effective_at, new FROM {audit}.job_changes
WHERE job_id BETWEEN :first AND :last AND (job_id, version) > (:after, :after_version)
ORDER BY job_id, version
LIMIT :limit
"""

# What accounts for occurrences: each row for its own instant, and one that counts for all from missed_from on.
ROWS = """
SELECT job_id, coalesce(missed_from, scheduled_for) AS first, scheduled_for AS last, missed_count
FROM {audit}.runs
WHERE job_id BETWEEN :first AND :last AND scheduled_for >= :start AND scheduled_for < :before_end
  AND coalesce(missed_from, scheduled_for) <= :end
  AND (job_id, scheduled_for) < (:before, :before_at)
ORDER BY job_id DESC, scheduled_for DESC
LIMIT :limit
"""

JOBS_AT_ONCE = 200
ROWS_AT_ONCE = 20_000
LOG_AT_ONCE = 2_000
END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


def kept_window(
    now: datetime, history_days: int, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime]:
    """The window that the history can tell of; its oldest day may be dropped at any moment."""
    oldest = _midnight(now) - timedelta(days=history_days - 1)
    return max(since or oldest, oldest), min(until or now, now)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(slots=True)
class GapReport:
    """What was found.

    `gaps` are the first of them by job, at most as many as were asked for; `unaccounted` counts all. `unchecked` are
    jobs of which nobody can tell what they owed, with the reason; `waiting` occurrences are due, and the cursor has
    not passed them yet: the leader will see to them.
    """

    since: datetime
    until: datetime
    jobs: int = 0
    expected: int = 0
    waiting: int = 0
    unaccounted: int = 0
    gaps: list[Gap] = field(default_factory=list)
    unchecked: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.unaccounted and not self.unchecked

    def as_document(self) -> dict[str, Any]:
        """As the command line shows it to programs."""
        return {**asdict(self), "clean": self.is_clean}


@dataclass(frozen=True, slots=True)
class GapStore:
    """The check, on one database.

    Parameters: history_days, how long runs are kept: nothing can be said about the time before.
    """

    database: Database
    history_days: int

    async def find(
        self, *, job_id: str | None, since: datetime | None, until: datetime | None, limit: int
    ) -> GapReport:
        """Look for occurrences without a row or a count.

        Parameters: job_id, only this job's (None: all); since and until, aware, the window, both inclusive, cut to
        the history that is kept; limit, the most gaps to list.
        """
        now = await self.database.now()
        start, end = kept_window(now, self.history_days, since, until)
        report = GapReport(start, end)
        async for page in self._pages(job_id):
            await self._check(page, report, limit)
        return report

    async def _pages(self, job_id: str | None) -> AsyncIterator[Sequence[Row]]:
        after = ""
        while True:
            page = await self._read(JOBS, after=after, job_id=job_id, limit=JOBS_AT_ONCE)
            if page:
                yield page
            if len(page) < JOBS_AT_ONCE:
                return
            after = page[-1].job_id

    async def _check(self, page: Sequence[Row], report: GapReport, limit: int) -> None:
        histories, latest = await self._histories(page)
        finders: dict[str, GapFinder] = {}
        for row in page:
            history = histories[row.job_id]
            report.unchecked += _doubts(row, history, latest.get(row.job_id))
            end = min(report.until, row.now)
            if row.next_run is not None and row.next_run <= end:
                waiting = GapFinder(row.job_id, history.eras, max(row.next_run, report.since), end)
                report.waiting += waiting.expected
                end = row.next_run - TICK
            finder = GapFinder(row.job_id, history.eras, report.since, end)
            report.expected += finder.expected
            finders[row.job_id] = finder
        report.jobs += len(page)
        upper, lower = END_OF_TIME, _midnight(report.until)
        while upper > report.since:
            await self._cover(page, finders, max(lower, report.since), upper, report, limit)
            upper, lower = lower, lower - timedelta(days=1)
        for finder in finders.values():
            finder.close()
            _enter(finder, report, limit)

    async def _cover(
        self,
        page: Sequence[Row],
        finders: Mapping[str, GapFinder],
        lower: datetime,
        upper: datetime,
        report: GapReport,
        limit: int,
    ) -> None:
        """Take in the rows from `lower` up to, not including, `upper`: one day, which is one partition."""
        before, before_at = page[-1].job_id, upper
        while True:
            rows = await self._read(
                ROWS,
                first=page[0].job_id,
                last=page[-1].job_id,
                start=lower,
                before_end=upper,
                end=report.until,
                before=before,
                before_at=before_at,
                limit=ROWS_AT_ONCE,
            )
            for job_id, first, last, counted in rows:
                finder = finders.get(job_id)
                if finder is not None:
                    finder.cover(first, last, counted)
                    if finder.gaps:
                        _enter(finder, report, limit)
            if len(rows) < ROWS_AT_ONCE:
                return
            before, before_at = rows[-1].job_id, rows[-1].last

    async def _histories(self, page: Sequence[Row]) -> tuple[dict[str, JobHistory], dict[str, Row]]:
        histories = {row.job_id: JobHistory() for row in page}
        latest: dict[str, Row] = {}
        after, after_version = page[0].job_id, -1
        while True:
            entries = await self._read(
                LOG,
                first=page[0].job_id,
                last=page[-1].job_id,
                after=after,
                after_version=after_version,
                limit=LOG_AT_ONCE,
            )
            for entry in entries:
                if entry.job_id in histories:
                    histories[entry.job_id].add(Change(entry.version, entry.effective_at, entry.new))
                    latest[entry.job_id] = entry
            if len(entries) < LOG_AT_ONCE:
                return histories, latest
            after, after_version = entries[-1].job_id, entries[-1].version

    async def _read(self, statement: str, **parameters: Any) -> Sequence[Any]:
        return await self.database.fetch(statement.replace("{audit}", f'"{self.database.schema}_audit"'), parameters)


def _enter(finder: GapFinder, report: GapReport, limit: int) -> None:
    for gap in finder.gaps:
        report.unaccounted += gap.count
        if len(report.gaps) < limit:
            report.gaps.append(gap)
    finder.gaps.clear()


def _doubts(row: Row, history: JobHistory, latest: Row | None) -> list[dict[str, str]]:
    """Why nobody can tell what a job owed: its log does not lead to what it is, or holds what can't be read."""
    reasons = [f"version {version} can't be read" for version in history.unreadable]
    logged = None if latest is None else latest.new
    if latest is not None and latest.effective_at > row.now:
        pass  # changed while we read
    elif row.is_there:
        shown = {name: getattr(row, name) for name in ("name", "schedule_type", "schedule_value", "timezone")}
        differing = [name for name, value in shown.items() if (logged or {}).get(name) != value]
        if differing:
            reasons.append(f"it differs from the end of its log ({', '.join(differing)}): a change was not logged")
    elif logged is not None:
        reasons.append("it is gone, and its removal was not logged")
    return [{"job_id": row.job_id, "reason": reason} for reason in reasons]

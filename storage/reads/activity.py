"""What happens just now, for those who watch: fires, failures and lateness by the second, what is overdue, who leads.

Each statement's cost is bounded: by a window of run ids, which begin with their instant, so that the summary of pages
on them finds it; by the partial indexes on what is due and what is unfinished; or by a limit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler_core.domain.situation import COUNTED_AT_MOST
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.keys import first_run_id

# Lateness of what the schedule fired; a backfilled run is late on purpose.
BUCKETS = """
SELECT CAST(floor(extract(epoch FROM scheduled_for) / :seconds) * :seconds AS bigint) AS bucket,
       count(*) FILTER (WHERE status NOT IN ('missed', 'skipped')) AS fires,
       count(*) FILTER (WHERE status IN ('failed', 'lost')) AS failed,
       count(*) FILTER (WHERE status = 'skipped') AS skipped,
       CAST(coalesce(sum(missed_count) FILTER (WHERE status = 'missed'), 0) AS bigint) AS missed,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - scheduled_for)::float8)
           FILTER (WHERE origin = 'schedule') AS p50,
       percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - scheduled_for)::float8)
           FILTER (WHERE origin = 'schedule') AS p99
FROM {schema}.runs
WHERE run_id >= :first AND run_id < :last AND scheduled_for >= :since AND scheduled_for < :until
GROUP BY 1
ORDER BY 1
"""

# Overdue needs no leader to be found out.
PULSE = """
WITH overdue AS (
    SELECT job_id FROM {schema}.jobs WHERE due_at < clock_timestamp() - make_interval(secs => :overdue) LIMIT :most
)
SELECT clock_timestamp() AS now, seat.term, leader.instance_id, leader.host, leader.pid, seat.acquired_at,
       (SELECT count(*) FROM overdue) AS overdue
FROM {schema}.current_leader seat
LEFT JOIN {schema}.current_leader leader ON leader.lives
"""

OVERDUE = """
SELECT job_id, name, next_run, due_at FROM {schema}.jobs
WHERE due_at < clock_timestamp() - make_interval(secs => :overdue)
ORDER BY due_at
LIMIT :limit
"""

# Failed, lost and retried: an attempt that failed has a row of its own, so looking for them reads no success.
FAILURES = """
SELECT a.run_id, a.job_id, r.job_name, a.scheduled_for, a.finished_at, a.attempt, a.outcome, a.error_type,
       a.error_message, r.status
FROM {schema}.attempts a
JOIN {schema}.runs r ON r.run_id = a.run_id AND r.scheduled_for = a.scheduled_for
WHERE a.run_id >= :first AND a.scheduled_for >= :since
ORDER BY a.run_id DESC, a.attempt DESC
LIMIT :limit
"""

COUNTS = """
SELECT (SELECT count(*) FROM (SELECT FROM {schema}.jobs LIMIT :most) AS j) AS jobs,
       (SELECT count(*) FROM (SELECT FROM {schema}.runs WHERE status IN {unfinished}
                              LIMIT :most) AS r) AS unfinished
"""

# Those that live, and those that ended lately.
REPLICAS = """
SELECT i.instance_id, i.instance_name, i.host, i.pid, i.version, i.eligible, i.started_at, i.last_seen, i.ended_at,
       cardinality(i.callbacks) AS callbacks,
       i.ended_at IS NULL AND {schema}.is_alive(i) AS alive, l.instance_id IS NOT NULL AS leads
FROM {schema}.instances i LEFT JOIN {schema}.current_leader l ON l.instance_id = i.instance_id
WHERE i.last_seen > clock_timestamp() - interval '1 day'
ORDER BY i.ended_at IS NOT NULL, i.started_at DESC
LIMIT :limit
"""


class ActivityStore:
    """Reads; never writes.

    Parameters: overdue_seconds, how late a job is that is overdue.
    """

    def __init__(self, database: Database, *, overdue_seconds: float) -> None:
        self._database = database
        self._overdue_seconds = overdue_seconds

    async def buckets(self, since: datetime, until: datetime, *, bucket_seconds: int) -> list[dict[str, Any]]:
        """Fires, failures, misses and lateness in seconds, by buckets of so many seconds; empty ones are absent."""
        return await self._rows(
            BUCKETS,
            seconds=bucket_seconds,
            first=first_run_id(since),
            last=first_run_id(until, after=True),
            since=since,
            until=until,
        )

    async def pulse(self) -> dict[str, Any]:
        """The database's time, the leader that lives (instance_id None without one), how many jobs are overdue."""
        return (await self._rows(PULSE, overdue=self._overdue_seconds, most=COUNTED_AT_MOST))[0]

    async def overdue(self, *, limit: int = 10) -> list[dict[str, Any]]:
        """Jobs that were due and that nobody claimed, the oldest first."""
        return await self._rows(OVERDUE, overdue=self._overdue_seconds, limit=limit)

    async def failures(self, since: datetime, *, limit: int = 10) -> list[dict[str, Any]]:
        """Attempts that failed since then, the latest first."""
        return await self._rows(FAILURES, first=first_run_id(since), since=since, limit=limit)

    async def counts(self) -> dict[str, Any]:
        """Jobs and unfinished runs, each counted to COUNTED_AT_MOST."""
        return (await self._rows(COUNTS, most=COUNTED_AT_MOST))[0]

    async def replicas(self, *, limit: int = 50) -> list[dict[str, Any]]:
        """Replicas that live or ended within a day, the living first."""
        return await self._rows(REPLICAS, limit=limit)

    async def _rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self._database.fetch(statement, parameters)]

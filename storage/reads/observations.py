"""What a scrape wants to know of the whole scheduler: few numbers, none per job.

Reads only; any replica may ask, and gets the same answer. What is behind is found along an index, up to a limit; the
census of jobs reads the whole table and is asked for seldom.
"""

from __future__ import annotations

from typing import Any

from scheduler_core.domain.situation import COUNTED_AT_MOST, Situation
from scheduler_core.storage.postgres.database import Database

TIMEOUT_SECONDS = 5.0

# The jobs that stand still are looked up along jobs_due, from its oldest end; unfinished runs along runs_unfinished.
# The clock is asked once, in a subquery: compared with each row it could not bound the index (300 ms for 1M jobs).
SITUATION = """
WITH seat AS MATERIALIZED (
    SELECT term, acquired_at, lives AS is_led FROM {schema}.current_leader
), alive AS MATERIALIZED (
    SELECT i.eligible
    FROM {schema}.instances i
    WHERE i.ended_at IS NULL AND {schema}.is_alive(i)
), overdue AS MATERIALIZED (
    SELECT due_at FROM {schema}.jobs
    WHERE due_at < (SELECT clock_timestamp() - make_interval(secs => :overdue))
    ORDER BY due_at
    LIMIT :limit
), unfinished AS MATERIALIZED (
    SELECT status, reason FROM {schema}.runs
    WHERE status IN {unfinished}
    LIMIT :limit
)
SELECT coalesce((SELECT term FROM seat), 0) AS term,
       coalesce((SELECT is_led FROM seat), false) AS is_led,
       (SELECT acquired_at FROM seat) AS led_since,
       (SELECT extract(epoch FROM leaderless_for)::float8 FROM {schema}.leader_terms
        ORDER BY term DESC LIMIT 1) AS last_leaderless_seconds,
       (SELECT count(*) FROM alive) AS replicas,
       (SELECT count(*) FROM alive WHERE eligible) AS eligible_replicas,
       (SELECT count(*) FROM overdue) AS overdue_jobs,
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 FROM overdue)
           AS most_overdue_seconds,
       (SELECT count(*) FROM unfinished WHERE status = 'pending') AS pending,
       (SELECT count(*) FROM unfinished WHERE status = 'queued') AS queued,
       (SELECT count(*) FROM unfinished WHERE status = 'running') AS running,
       (SELECT count(*) FROM unfinished WHERE status = 'retrying') AS retrying,
       (SELECT count(*) FROM unfinished WHERE reason = 'no_callback') AS uncallable,
       (SELECT extract(epoch FROM (max(to_date(right(c.relname, 8), 'YYYYMMDD')) + 1)::timestamp AT TIME ZONE 'UTC'
                                  - clock_timestamp())::float8
        FROM pg_inherits n JOIN pg_class c ON c.oid = n.inhrelid
        WHERE n.inhparent = to_regclass('{schema}.runs') AND c.relname ~ '_[0-9]{8}$') AS history_ahead_seconds
"""

# Each job is in one of these, whatever else is true of it: what a person did comes first.
CENSUS = """
SELECT count(*) FILTER (WHERE state = 'paused') AS paused,
       count(*) FILTER (WHERE state = 'auto_disabled') AS auto_disabled,
       count(*) FILTER (WHERE state = 'finished') AS finished,
       count(*) FILTER (WHERE state = 'disabled') AS disabled,
       count(*) FILTER (WHERE state = 'active') AS active
FROM (
    SELECT CASE WHEN paused_at IS NOT NULL AND (paused_until IS NULL OR paused_until > clock_timestamp()) THEN 'paused'
                WHEN auto_disabled_at IS NOT NULL THEN 'auto_disabled'
                WHEN finished_at IS NOT NULL THEN 'finished'
                WHEN NOT enabled THEN 'disabled'
                ELSE 'active' END AS state
    FROM {schema}.jobs
) AS j
"""


class Observations:
    """Reads for scrapes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def situation(self, *, overdue_seconds: float) -> Situation:
        """How the scheduler stands; `overdue_seconds`, from when on a due job is overdue. Raises SchedulerError."""
        row = await self._one(SITUATION, overdue=overdue_seconds, limit=COUNTED_AT_MOST)
        return Situation(**row)

    async def census(self) -> dict[str, int]:
        """State → jobs in it. Reads every job. Raises SchedulerError."""
        return await self._one(CENSUS)

    async def _one(self, statement: str, **parameters: Any) -> dict[str, Any]:
        row = await self._database.fetch_one(statement, parameters, timeout_seconds=TIMEOUT_SECONDS)
        assert row is not None
        return dict(row)

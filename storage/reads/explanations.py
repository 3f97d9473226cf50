"""The facts behind an explanation, in two statements."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from scheduler_core.domain.runs.run import Origin, RunStatus
from scheduler_core.domain.runs.words import RunFacts
from scheduler_core.storage.postgres.database import Database

# One row, whether the job exists or not. Who lives is asked of the witnesses, as everywhere.
STATE = """
WITH living AS MATERIALIZED (
    SELECT i AS replica, instance_id, host, pid, zones FROM {schema}.instances i
    WHERE i.ended_at IS NULL AND {schema}.is_alive(i)
)
SELECT clock_timestamp() AS now, j.paused_by, j.pause_note, j.last_error,
       coalesce(j.consecutive_failures, 0) AS consecutive_failures,
       l.term, CASE WHEN l.nonce IS NOT NULL THEN i.instance_id END AS leader, i.host, i.pid,
       l.acquired_at AS leader_since,
       (SELECT count(*) FROM living) AS replicas,
       (SELECT count(*) FROM living WHERE {schema}.can_call(replica, j.callback, j.application)) AS callers,
       (SELECT count(*) FROM living WHERE j.timezone = ANY (zones)) AS zone_knowers,
       (l.nonce IS NOT NULL AND j.timezone <> ALL (i.zones)) IS TRUE AS is_zone_unknown_to_leader
FROM {schema}.leader l
LEFT JOIN {schema}.jobs j ON j.job_id = :job_id
LEFT JOIN living i ON i.instance_id = l.instance_id
"""

# The last runs, and beside them whatever has not ended; backfilled occurrences are old however new their runs are. The
# run that another overlapped is looked for from there backwards, along the index, for two days.
RUNS = """
WITH shown AS (
    (SELECT run_id, scheduled_for FROM {schema}.runs WHERE job_id = :job_id
     ORDER BY scheduled_for DESC LIMIT :recent)
    UNION
    (SELECT run_id, scheduled_for FROM {schema}.runs
     WHERE job_id = :job_id AND status IN {unfinished}
     ORDER BY scheduled_for LIMIT :recent)
)
SELECT r.run_id, r.scheduled_for, r.origin, r.status, r.reason, r.attempt, r.deliveries, r.next_attempt_at,
       r.started_at, r.finished_at, r.instance_id, r.offered, r.error, r.missed_count, r.missed_from,
       r.cancel_requested_at, r.cancel_requested_by,
       CASE WHEN r.instance_id IS NULL THEN NULL
            ELSE {schema}.is_alive(i) IS TRUE END AS owner_lives,
       o.run_id AS overlapped_run_id, o.scheduled_for AS overlapped_scheduled_for
FROM shown
JOIN {schema}.runs r ON r.job_id = :job_id AND r.scheduled_for = shown.scheduled_for
LEFT JOIN {schema}.instances i ON i.instance_id = r.instance_id
LEFT JOIN LATERAL (
    SELECT b.run_id, b.scheduled_for FROM {schema}.runs b
    WHERE r.reason = 'overlap' AND b.job_id = r.job_id AND b.run_id <> r.run_id
      AND b.scheduled_for BETWEEN r.scheduled_for - interval '2 days' AND r.finished_at
      AND b.started_at <= r.finished_at AND (b.finished_at IS NULL OR b.finished_at >= r.finished_at)
    ORDER BY b.scheduled_for DESC LIMIT 1
) AS o ON true
ORDER BY r.scheduled_for DESC
"""

RECENT = 10

_RUN = tuple(item.name for item in fields(RunFacts))


class ExplanationStore:
    """Reads what `domain.explanation` tells; never writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self, job_id: str) -> dict[str, Any]:
        """What stands beside the job's definition: the operator's words, the leader, the replicas."""
        row = await self._database.fetch_one(STATE, {"job_id": job_id})
        return {} if row is None else dict(row)

    async def runs(self, job_id: str) -> list[RunFacts]:
        """The job's last runs, the latest first, and those that have not ended."""
        rows = await self._database.fetch(RUNS, {"job_id": job_id, "recent": RECENT})
        return [
            RunFacts(
                **{name: row[name] for name in _RUN} | {"origin": Origin(row.origin), "status": RunStatus(row.status)}
            )
            for row in rows
        ]

"""What the failover drill asks Postgres: who leads, who takes part, what fired, and in the end the whole record.

Reads, and two acts on the drill's own sessions and schemas. While faults are under way each question touches a few
index entries only: the drill must not slow down what it measures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from scheduler_core.ports.election import LeaseName
from scheduler_core.storage.postgres.database import Database, Row
from scheduler_core.storage.postgres.keys import LEASE_NAME, lease_name

LEADER = """
SELECT term, instance_id, pid FROM {schema}.current_leader WHERE lives
"""

LIVING = """
SELECT i.instance_id, i.pid FROM {schema}.instances i
WHERE i.ended_at IS NULL AND {schema}.is_alive(i)
"""

INSTANCES = """
SELECT instance_id, pid, started_at FROM {schema}.instances ORDER BY started_at
"""

# One index scan per job, over the last few seconds of it.
FIRST_START = """
SELECT found.started_at, found.term
FROM unnest(CAST(:job_ids AS text[])) AS j (job_id)
CROSS JOIN LATERAL (
    SELECT r.started_at, r.term FROM {schema}.runs r
    WHERE r.job_id = j.job_id AND r.scheduled_for > CAST(:since AS timestamptz)
      AND r.started_at > CAST(:after AS timestamptz) AND r.term > :above_term
    ORDER BY r.started_at LIMIT 1
) AS found
ORDER BY found.started_at LIMIT 1
"""

UPTIME = """
SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8 AS seconds
"""

# A job that has no cursor any more would have finished: none of the drill's does.
UNSETTLED = """
SELECT (SELECT count(*) FROM {schema}.jobs WHERE next_run <= CAST(:until AS timestamptz)) AS behind,
       (SELECT count(*) FROM {schema}.runs
        WHERE status IN {unfinished}
          AND scheduled_for <= CAST(:until AS timestamptz)) AS unfinished
"""

RUNS = """
SELECT run_id, job_id, scheduled_for, origin, status, reason, attempts, deliveries, term, instance_id,
       started_at, finished_at, missed_count, missed_from
FROM "{plain_schema}_audit".runs
WHERE job_id = :job_id AND scheduled_for > CAST(:after AS timestamptz)
ORDER BY scheduled_for LIMIT :limit
"""

TERMS = """
SELECT term, instance_id, acquired_at, ended_at, end_reason FROM "{plain_schema}_audit".leadership ORDER BY term
"""

# The session that holds the life witness of one replica, and no other session on this server.
TERMINATE_CONTROL = """
SELECT pg_terminate_backend(k.pid)
FROM {schema}.instances i
JOIN pg_locks k ON k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
               AND k.classid = ((i.life_key >> 32) & 4294967295)::oid AND k.objid = (i.life_key & 4294967295)::oid
               AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
WHERE i.pid = :pid AND i.ended_at IS NULL
"""

# By the port that the server sees, and only among a scheduler's sessions from this machine on this database.
TERMINATE_PORTS = """
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
WHERE a.client_port = ANY(CAST(:ports AS integer[])) AND a.client_addr IS NOT DISTINCT FROM inet_client_addr()
  AND a.datname = current_database() AND a.application_name LIKE 'scheduler%'
"""

SCHEMA_EXISTS = """
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = :name) AS found
"""

CHUNK = 5_000


class EvidenceReader:
    """Questions of one drill, in its schema. Raises SchedulerErrors while the server is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        """The database's time."""
        return await self._database.now()

    async def leader(self) -> Row | None:
        """term, instance_id and pid of the leader, if one holds the seat and lives."""
        return await self._database.fetch_one(LEADER)

    async def living(self) -> Sequence[Row]:
        """instance_id and pid of every replica that takes part."""
        return await self._database.fetch(LIVING)

    async def instances(self) -> Sequence[Row]:
        """instance_id, pid and started_at of every replica that ever took part."""
        return await self._database.fetch(INSTANCES)

    async def first_start(
        self, job_ids: Sequence[str], *, since: datetime, after: datetime, above_term: int
    ) -> Row | None:
        """started_at and term of the first run that began after an instant, in a term above another.

        Parameters: since, bounds `scheduled_for` from below, so that the index is enough.
        """
        return await self._database.fetch_one(
            FIRST_START, {"job_ids": list(job_ids), "since": since, "after": after, "above_term": above_term}
        )

    async def uptime_seconds(self) -> float:
        """How long Postgres has been up."""
        row = await self._database.fetch_one(UPTIME)
        return 0.0 if row is None else float(row.seconds)

    async def unsettled(self, until: datetime) -> tuple[int, int]:
        """How many jobs' cursors stand before an instant, and how many runs scheduled before it have not ended."""
        row = await self._database.fetch_one(UNSETTLED, {"until": until})
        return (0, 0) if row is None else (int(row.behind), int(row.unfinished))

    async def runs(self, job_id: str, first: datetime) -> AsyncIterator[Sequence[Row]]:
        """Every run of a job scheduled after `first`, in order, in chunks."""
        after = first
        while True:
            rows = await self._database.fetch(self._named(RUNS), {"job_id": job_id, "after": after, "limit": CHUNK})
            if rows:
                yield rows
            if len(rows) < CHUNK:
                return
            after = rows[-1].scheduled_for

    async def lease_name(self) -> LeaseName:
        """Which lease is the leader's, on this server."""
        row = await self._database.fetch_one(LEASE_NAME)
        assert row is not None
        return lease_name(row, self._database.schema)

    async def terms(self) -> Sequence[Row]:
        """Every term, in order."""
        return await self._database.fetch(self._named(TERMS))

    async def terminate_control(self, pid: int) -> int:
        """End the control session of one replica, on the server's side. Returns how many were found."""
        return len(await self._database.fetch(TERMINATE_CONTROL, {"pid": pid}))

    async def terminate_ports(self, ports: Sequence[int]) -> int:
        """End the sessions that come from these local ports of ours, all at once."""
        return len(await self._database.fetch(TERMINATE_PORTS, {"ports": list(ports)}))

    async def schema_exists(self) -> bool:
        """Whether the drill's schema is there."""
        row = await self._database.fetch_one(SCHEMA_EXISTS, {"name": self._database.schema})
        return row is not None and bool(row.found)

    async def drop_schemas(self) -> None:
        """Leave nothing behind."""
        name = self._database.schema
        await self._database.run_alone(
            [f'DROP SCHEMA IF EXISTS "{name}_audit" CASCADE', f'DROP SCHEMA IF EXISTS "{name}" CASCADE']
        )

    def _named(self, template: str) -> str:
        return template.replace("{plain_schema}", self._database.schema)

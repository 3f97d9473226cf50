"""What the listings, the doctor and auditors read: the stable views of `{schema}_audit`, and who takes part."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduler_core.storage.postgres.database import Database, Row
from scheduler_core.storage.postgres.open_transactions import LONG_SECONDS, OPEN_TRANSACTIONS

JOBS = """
SELECT v.*, j.paused_at IS NOT NULL AS paused, j.paused_until, j.paused_by, j.pause_note, j.auto_disabled_at,
       j.finished_at, j.callback, j.tags, j.calendars, j.last_status, j.last_error, j.digest
FROM {audit}.jobs v JOIN {schema}.jobs j USING (job_id)
WHERE CAST(:job_ids AS text[]) IS NULL OR v.job_id = ANY(CAST(:job_ids AS text[]))
ORDER BY v.job_id
LIMIT :limit
"""

RUNS = """
SELECT * FROM {audit}.runs
WHERE (CAST(:job_id AS text) IS NULL OR job_id = :job_id)
  AND (CAST(:statuses AS text[]) IS NULL OR status = ANY(CAST(:statuses AS text[])))
  AND (CAST(:since AS timestamptz) IS NULL OR scheduled_for >= CAST(:since AS timestamptz))
ORDER BY scheduled_for DESC, job_id
LIMIT :limit
"""

RUN = """
SELECT * FROM {audit}.runs WHERE run_id = :run_id
"""

ATTEMPTS = """
SELECT a.*, t.traceback
FROM {audit}.attempts a
LEFT JOIN {schema}.attempts t
  ON t.run_id = a.run_id AND t.scheduled_for = a.scheduled_for AND t.attempt = a.attempt AND t.term = a.term
 AND t.outcome = a.outcome
WHERE a.run_id = :run_id AND a.scheduled_for = :scheduled_for
ORDER BY a.attempt, a.started_at
"""

LEADER = """
SELECT term, instance_id, host, pid, acquired_at, nonce, witnessed FROM {schema}.current_leader
"""

REPLICAS = """
SELECT i.instance_id, i.host, i.pid, i.started_at, i.last_seen, i.version, i.eligible,
       CASE WHEN l.instance_id IS NOT NULL THEN 'leader' ELSE 'follower' END AS role
FROM {schema}.instances i LEFT JOIN {schema}.current_leader l ON l.instance_id = i.instance_id
WHERE i.ended_at IS NULL AND {schema}.is_alive(i)
ORDER BY i.started_at
"""

_ALIVE = """
SELECT i AS replica, instance_id, application, callbacks FROM {schema}.instances i
WHERE i.ended_at IS NULL AND {schema}.is_alive(i)
"""

# A replica that declares a job as it stands there leaves no trace in its row; that it can call the job's callback
# is the trace it leaves elsewhere.
DECLARERS = f"""
WITH alive AS MATERIALIZED ({_ALIVE})
SELECT j.job_id, j.declared_by, j.declared_since IS NOT NULL AS by_code,
       j.added_at_run_time IS TRUE AS added_at_run_time,
       (SELECT min(a.instance_id) FROM alive a
        WHERE a.instance_id = j.declared_by OR {{schema}}.can_call(a.replica, j.callback, j.application)) AS alive
FROM {{schema}}.jobs j WHERE j.job_id = ANY(CAST(:job_ids AS text[]))
"""

UNDECLARED = f"""
WITH alive AS MATERIALIZED ({_ALIVE})
SELECT 'undeclared' AS kind, j.job_id AS subject,
       'code of ' || j.declared_by || ' declared it, and that of no living replica does: prune or remove it' AS detail
FROM {{schema}}.jobs j
WHERE j.declared_since IS NOT NULL AND EXISTS (SELECT FROM alive)
  AND j.added_at_run_time IS NOT TRUE -- no start declares these: that none does says nothing
  AND j.declared_by NOT IN (SELECT instance_id FROM alive)
  AND NOT EXISTS (SELECT FROM alive a WHERE j.callback = ANY(a.callbacks)
                    AND coalesce(j.application = a.application, true))
ORDER BY j.job_id LIMIT 100
"""

# One finding for each callback, however many jobs call it: what is to be mended is the callback. Those that code
# declares at its start and no longer does are found above.
UNCALLABLE = f"""
WITH alive AS MATERIALIZED ({_ALIVE})
SELECT 'no callback' AS kind, callback AS subject, application, count(*) AS jobs, min(job_id) AS job_id
FROM (
    SELECT job_id, callback, application FROM {{schema}}.jobs j
    WHERE enabled AND finished_at IS NULL AND EXISTS (SELECT FROM alive)
      AND (added_at_run_time OR declared_since IS NULL)
      AND NOT EXISTS (SELECT FROM alive a WHERE {{schema}}.can_call(a.replica, j.callback, j.application))
    UNION
    SELECT j.job_id, j.callback, j.application
    FROM {{schema}}.runs r JOIN {{schema}}.jobs j USING (job_id)
    WHERE r.status = 'pending' AND r.reason = 'no_callback'
) AS waiting
GROUP BY callback, application ORDER BY callback LIMIT 100
"""

CALLABLE = f"""
WITH alive AS MATERIALIZED ({_ALIVE})
SELECT EXISTS (SELECT FROM alive a WHERE {{schema}}.can_call(a.replica, :callback, NULL)) AS callable,
       (SELECT count(*) FROM alive) AS replicas
"""

TERMS = """
SELECT * FROM {audit}.leadership ORDER BY term DESC LIMIT :limit
"""

TALLY = """
SELECT status, sum(coalesce(missed_count, 1))::bigint AS runs,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM lateness)::float8)
           FILTER (WHERE origin = 'schedule') AS p50,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM lateness)::float8)
           FILTER (WHERE origin = 'schedule') AS p99
FROM {audit}.runs
WHERE CAST(:since AS double precision) IS NULL
   OR scheduled_for > clock_timestamp() - make_interval(secs => CAST(:since AS double precision))
GROUP BY ROLLUP (status)
"""

USUAL_DURATIONS = """
SELECT job_id, percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM duration)::float8) AS seconds
FROM {audit}.runs WHERE status = 'succeeded' AND duration IS NOT NULL
GROUP BY job_id
"""

JOB_IDS = """
SELECT job_id FROM {schema}.jobs WHERE job_id > :after ORDER BY job_id LIMIT :limit
"""

# Overdue needs no leader to be found out: any replica, or a person with psql, sees it. The instant is the statement's,
# one for all rows: so the index on due_at finds them, and nothing else is read.
FINDINGS = """
SELECT 'overdue' AS kind, job_id AS subject,
       'due since ' || date_trunc('second', statement_timestamp() - due_at) AS detail
FROM {schema}.jobs WHERE due_at < statement_timestamp() - make_interval(secs => :overdue)
UNION ALL
SELECT 'auto-disabled', job_id, 'after ' || consecutive_failures || ' failures in a row, at ' || auto_disabled_at
FROM {schema}.jobs WHERE auto_disabled_at IS NOT NULL
UNION ALL
SELECT 'paused', job_id, concat_ws(', ', 'by ' || paused_by, pause_note) FROM {schema}.jobs
WHERE paused_at IS NOT NULL
UNION ALL
SELECT 'reverted', job_id, 'by an operator, and stays so until code declares something new; or revert it back'
FROM {schema}.jobs WHERE set_aside IS NOT NULL
UNION ALL
SELECT 'no calendar', j.job_id, 'waits for the calendar ' || named.name || ', which does not exist'
FROM {schema}.jobs j, unnest(j.calendars) AS named (name)
WHERE NOT EXISTS (SELECT FROM {schema}.calendars c WHERE c.name = named.name)
UNION ALL
SELECT 'calendar ends', c.name, 'its last date, ' || dates.latest || ', is past: import those to come'
FROM {schema}.calendars c, LATERAL (SELECT max(day) AS latest FROM jsonb_object_keys(c.excluded_dates) AS day) AS dates
WHERE dates.latest < to_char(statement_timestamp(), 'YYYY-MM-DD')
  AND EXISTS (SELECT FROM {schema}.jobs j WHERE c.name = ANY(j.calendars))
UNION ALL
SELECT 'untold', 'webhook', count(*) || ' notifications of the last day are not delivered: ' || max(last_error)
FROM {schema}.notifications
WHERE delivered_at IS NULL AND last_error IS NOT NULL AND created_at > statement_timestamp() - interval '1 day'
HAVING count(*) > 0
UNION ALL
SELECT 'stuck', r.job_id, count(*) || ' runs begun by ' || r.instance_id || ', which is gone'
FROM {schema}.runs r LEFT JOIN {schema}.instances i USING (instance_id)
WHERE r.status = 'running' AND (i.instance_id IS NULL OR i.ended_at IS NOT NULL
      OR (i.life_key IS NOT NULL AND NOT {schema}.witness_held(i.life_key)))
GROUP BY r.job_id, r.instance_id
UNION ALL
SELECT 'not taken', o.job_id, o.waiting || ' runs have been offered to ' || o.offered || ' since '
       || date_trunc('second', o.since) || ', and '
       || CASE WHEN NOT EXISTS (SELECT FROM {schema}.instances i
                                WHERE {schema}.is_alive(i) AND i.ended_at IS NULL AND o.offered = ANY(i.executes))
               THEN 'no living replica takes them: start one with executes = true'
               WHEN NOT EXISTS (SELECT FROM {schema}.instances i
                                WHERE {schema}.is_alive(i) AND i.ended_at IS NULL AND o.offered = ANY(i.executes)
                                  AND {schema}.can_call(i, j.callback, j.application))
               THEN 'no living replica that takes them can call ' || j.callback
               ELSE 'every replica that could take them executes as much as it may' END
FROM (SELECT job_id, offered, count(*) AS waiting, min(coalesce(next_attempt_at, due_at)) AS since
      FROM {schema}.runs
      WHERE offered IS NOT NULL AND instance_id IS NULL AND status IN ('pending', 'retrying')
        AND coalesce(next_attempt_at, due_at) < statement_timestamp() - make_interval(secs => :overdue)
      GROUP BY job_id, offered) AS o
JOIN {schema}.jobs j ON j.job_id = o.job_id
ORDER BY kind, subject
LIMIT 100
"""

# What a replica has not said is NULL, and no trouble. Zones are few, jobs need not be.
TIME_TROUBLES = """
WITH alive AS MATERIALIZED (
    SELECT instance_id, zone_release AS release, zones,
           CAST(clock_ahead AS numeric) AS ahead
    FROM {schema}.instances i
    WHERE i.ended_at IS NULL AND {schema}.is_alive(i)
), unknown AS MATERIALIZED (
    SELECT used.timezone,
           (SELECT string_agg(a.instance_id, ', ' ORDER BY a.instance_id) FROM alive a
            WHERE used.timezone = ANY (a.zones)) AS known_to
    FROM (SELECT DISTINCT timezone FROM {schema}.jobs) AS used
    WHERE EXISTS (SELECT FROM {schema}.leader l JOIN alive a USING (instance_id)
                  WHERE l.nonce IS NOT NULL AND used.timezone <> ALL (a.zones))
)
SELECT 'no timezone' AS kind, j.job_id AS subject,
       'waits: its time zone ' || u.timezone || ' is not in the leader''s time zone data, '
       || coalesce('but in those of ' || u.known_to, 'nor in those of any replica that lives') AS detail
FROM unknown u JOIN {schema}.jobs j USING (timezone)
WHERE j.next_run IS NOT NULL AND j.enabled
UNION ALL
SELECT 'zone data', instance_id,
       'goes by release ' || release || ' of the time zone data, others by ' || (SELECT max(release) FROM alive)
       || ': they may fire the same job at different hours; renew its package tzdata, and restart it'
FROM alive WHERE release < (SELECT max(release) FROM alive)
UNION ALL
SELECT 'clock', instance_id, 'its machine''s clock is ' || round(abs(ahead), 1) || ' s '
       || CASE WHEN ahead > 0 THEN 'behind' ELSE 'ahead of' END || ' Postgres''s'
FROM alive WHERE abs(ahead) > 1
ORDER BY kind, subject
LIMIT 100
"""

# Whether there is a publication or not: who makes one does not ask us first.
UNIDENTIFIED = """
SELECT 'replica identity' AS kind, min(c.relname::text) AS subject, count(*) AS tables
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = '{plain_schema}' AND c.relkind = 'r'
  AND NOT CASE c.relreplident
          WHEN 'f' THEN true
          WHEN 'd' THEN EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid)
          ELSE EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisreplident AND x.indisvalid) END
HAVING count(*) > 0
"""

SERVER = """
SELECT current_setting('server_version') AS version, current_setting('TimeZone') AS timezone,
       clock_timestamp() AS now, pg_is_in_recovery() AS is_standby, current_schema() AS current_schema,
       (SELECT max(to_date(right(c.relname, 8), 'YYYYMMDD')) FROM pg_inherits n
        JOIN pg_class c ON c.oid = n.inhrelid
        WHERE n.inhparent = to_regclass('{schema}.runs') AND c.relname ~ '_[0-9]{8}$') AS last_partition
"""


class Audit:
    """Reads; never writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def jobs(self, job_ids: Sequence[str] | None = None, *, limit: int = 1_000) -> list[dict[str, Any]]:
        """Jobs with what operators did to them."""
        return await self._rows(JOBS, job_ids=None if job_ids is None else list(job_ids), limit=limit)

    async def tally(self, *, since_seconds: float | None) -> dict[str, Any]:
        """Runs by status, and lateness in seconds (p50, p99; None without a start), lately or of all time."""
        rows = await self._rows(TALLY, since=since_seconds)
        total: dict[str, Any] = next((row for row in rows if row["status"] is None), {"p50": None, "p99": None})
        statuses = {row["status"]: int(row["runs"]) for row in rows if row["status"] is not None}
        return {"statuses": statuses, "p50": total["p50"], "p99": total["p99"]}

    async def usual_durations(self) -> dict[str, float]:
        """job_id → seconds that 95 of 100 runs did not exceed, over the history that is kept."""
        return {row["job_id"]: row["seconds"] for row in await self._rows(USUAL_DURATIONS)}

    async def job_ids(self, *, after: str, limit: int) -> list[str]:
        """The next ids in order."""
        return [row["job_id"] for row in await self._rows(JOB_IDS, after=after, limit=limit)]

    async def runs(
        self,
        *,
        job_id: str | None = None,
        statuses: Sequence[str] | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """The latest runs first."""
        return await self._rows(
            RUNS, job_id=job_id, statuses=list(statuses) if statuses else None, since=since, limit=limit
        )

    async def run(self, run_id: UUID) -> dict[str, Any] | None:
        """One run, with its attempts under `attempt_list`."""
        rows = await self._rows(RUN, run_id=run_id)
        if not rows:
            return None
        attempts = await self._rows(ATTEMPTS, run_id=run_id, scheduled_for=rows[0]["scheduled_for"])
        return rows[0] | {"attempt_list": attempts}

    async def leader(self) -> dict[str, Any]:
        """The leader's row with its replica."""
        rows = await self._rows(LEADER)
        return rows[0] if rows else {}

    async def replicas(self) -> list[dict[str, Any]]:
        """The replicas that live."""
        return await self._rows(REPLICAS)

    async def terms(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """Who led, the latest first."""
        return await self._rows(TERMS, limit=limit)

    async def findings(self, *, overdue_seconds: float) -> list[dict[str, Any]]:
        """What a person should look at."""
        found = await self._rows(FINDINGS, overdue=overdue_seconds)
        found += [_uncallable(**row) for row in await self._rows(UNCALLABLE)]
        for row in await self._rows(OPEN_TRANSACTIONS, long=LONG_SECONDS):
            del row["since"]
            found.append(row)
        found += [_unidentified(**row) for row in await self._rows(UNIDENTIFIED)]
        return [*found, *await self._rows(TIME_TROUBLES)]

    async def declarers(self, job_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """job_id → declared_by; by_code, whether a replica did and no command; added_at_run_time, whether by code that
        was running already; alive, a living replica that declared it or can call it, None without one.
        """
        return {row["job_id"]: row for row in await self._rows(DECLARERS, job_ids=list(job_ids))}

    async def undeclared(self) -> list[dict[str, Any]]:
        """Troubles: jobs that code declared, and the code of no living replica knows; none while none lives."""
        return await self._rows(UNDECLARED)

    async def is_callable(self, callback: str) -> bool | None:
        """Whether a living replica says that it calls this for any job; None while no replica lives to ask."""
        found = (await self._rows(CALLABLE, callback=callback))[0]
        return found["callable"] if found["replicas"] else None

    async def server(self) -> dict[str, Any]:
        """Postgres itself."""
        return (await self._rows(SERVER))[0]

    async def _rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        schema = self._database.schema
        audit = statement.replace("{audit}", f'"{schema}_audit"').replace("{plain_schema}", schema)
        return [_as_dict(row) for row in await self._database.fetch(audit, parameters)]


def _as_dict(row: Row) -> dict[str, Any]:
    return dict(row)


def _unidentified(*, kind: str, subject: str, tables: int) -> dict[str, Any]:
    """What is to be done about tables whose rows nothing names: without a publication, nobody notices."""
    others = f" (and {tables - 1} more tables)" if tables > 1 else ""
    return {
        "kind": kind,
        "subject": subject,
        "detail": f"has neither a primary key nor a replica identity{others}: once a publication has it, as FOR ALL "
        "TABLES does, Postgres refuses its updates and nothing fires: run `scheduler migrate`, or ALTER TABLE … "
        "REPLICA IDENTITY FULL",
    }


def _uncallable(*, kind: str, subject: str, application: str | None, jobs: int, job_id: str) -> dict[str, Any]:
    """What is to be done about a callback that no living replica calls. Never to remove its jobs: they wait."""
    which = f"job {job_id!r} calls it" if jobs == 1 else f"{jobs} jobs call it, {job_id!r} for one"
    if application is None:
        mend = "start a replica whose code declares it or marks it with @callback, or allow it by allowed_callbacks"
    else:
        mend = (
            f"start a replica of the application {application!r} whose modules define it; if that is this program "
            "under an earlier name, start it with `application` set to that"
        )
    return {"kind": kind, "subject": subject, "detail": f"{which}, and no living replica can: {mend}"}

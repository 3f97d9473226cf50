"""What operators ask: rerun, cancel, backfill of runs; of the leader, to resign.

Any process may ask, leader or not. Each is one statement, and so one transaction: what is asked for stands in a row,
and by whom. A NOTIFY that goes along only has somebody look there at once: anybody may send one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from scheduler_core.domain.errors import JobConflictError
from scheduler_core.domain.planning.segments import TICK
from scheduler_core.domain.runs.run import Origin, Run, RunStatus
from scheduler_core.ports.election import RESIGN_REQUEST
from scheduler_core.ports.runs import CANCEL_REQUEST, CancelAnswer, CancelledRuns, RerunAnswer
from scheduler_core.storage.postgres.database import Database, Row
from scheduler_core.storage.postgres.errors import MissingPartitionError
from scheduler_core.storage.postgres.keys import NUDGE_CHANNEL, new_run_id
from scheduler_core.storage.postgres.partitions import Partitions

# Two reruns of one run are two runs: somebody asked twice. Where the instant is taken (a fire in the very same
# microsecond) nothing is added, and the caller asks again.
RERUN = f"""
WITH old AS (
    SELECT r.run_id, r.job_id, r.status, r.job_name, j.name, j.version
    FROM {{schema}}.runs r LEFT JOIN {{schema}}.jobs j USING (job_id)
    WHERE r.run_id = :run_id
), added AS (
    INSERT INTO {{schema}}.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status,
                                 definition_version, rerun_of)
    SELECT :new_run_id, old.job_id, old.name, moment.now, moment.now, 'rerun', 'pending', old.version, old.run_id
    FROM old, (SELECT coalesce(CAST(:at AS timestamptz), clock_timestamp()) AS now) AS moment
    WHERE old.version IS NOT NULL AND old.status NOT IN {{unfinished}}
    ON CONFLICT (job_id, scheduled_for) DO NOTHING
    RETURNING scheduled_for, definition_version
), nudged AS (
    SELECT pg_notify('{NUDGE_CHANNEL}', :schema || ':') FROM added
)
SELECT old.job_id, old.status, old.version IS NOT NULL AS job_exists, added.scheduled_for,
       added.definition_version, (SELECT count(*) FROM nudged) AS nudged
FROM old LEFT JOIN added ON true
"""

# A run that waits ends here and now; whoever has it in flight is told, and drops it. A run that executes is only
# marked: its owner ends it, or, if the owner is dead, whoever reaps it. The row's lock decides between an outcome
# and this: the second of the two looks at the row again, and a run that has ended is left alone. The run is locked
# before its job, as everywhere.
CANCEL = f"""
WITH found AS (
    SELECT run_id, job_id, scheduled_for FROM {{schema}}.runs WHERE run_id = :run_id
), asked AS (
    UPDATE {{schema}}.runs r
    SET cancel_requested_at = coalesce(r.cancel_requested_at, clock_timestamp()),
        cancel_requested_by = coalesce(r.cancel_requested_by, :by),
        status = CASE WHEN r.status = 'running' THEN 'running' ELSE 'cancelled' END,
        reason = CASE WHEN r.status = 'running' THEN r.reason ELSE 'requested' END,
        finished_at = CASE WHEN r.status <> 'running' THEN clock_timestamp() END,
        next_attempt_at = NULL
    FROM found f
    WHERE r.run_id = f.run_id AND r.job_id = f.job_id AND r.scheduled_for = f.scheduled_for
      AND r.status IN {{unfinished}}
    RETURNING r.run_id, r.job_id, r.scheduled_for, r.status, r.instance_id
), told AS (
    UPDATE {{schema}}.jobs j SET last_status = 'cancelled'
    FROM asked a WHERE j.job_id = a.job_id AND a.status = 'cancelled'
)
SELECT asked.*, pg_notify('{NUDGE_CHANNEL}', :schema || ':' || :message) FROM asked
"""

STATE = """
SELECT run_id, job_id, scheduled_for, status, instance_id FROM {schema}.runs WHERE run_id = :run_id
"""

CANCELLED_SINCE = """
SELECT clock_timestamp() AS now,
       ARRAY(SELECT run_id FROM {schema}.runs
             WHERE cancel_requested_at >= coalesce(CAST(:since AS timestamptz),
                                                   clock_timestamp() - interval '1 minute')
               AND instance_id = :instance_id) AS run_ids
"""

CANCELLED_AMONG = """
SELECT run_id FROM {schema}.runs
WHERE run_id = ANY(CAST(:run_ids AS uuid[])) AND cancel_requested_at IS NOT NULL
"""

# Who asked first stays. A term that has ended has nobody who could resign from it.
ASK_TO_RESIGN = f"""
WITH asked AS (
    UPDATE {{schema}}.leader_terms
    SET resign_requested_at = coalesce(resign_requested_at, clock_timestamp()),
        resign_requested_by = coalesce(resign_requested_by, :by)
    WHERE term = :term AND ended_at IS NULL
    RETURNING term
)
SELECT term, pg_notify('{NUDGE_CHANNEL}', :schema || ':' || :message) FROM asked
"""

ASKED_TO_RESIGN = """
SELECT resign_requested_by AS who FROM {schema}.leader_terms WHERE term = :term
"""

ROWS_BETWEEN = """
SELECT scheduled_for, status FROM {schema}.runs
WHERE job_id = :job_id AND scheduled_for BETWEEN :start AND :end
"""

# Safe beside any number of other backfills, and beside the leader: an occurrence that has a run is left alone,
# whoever made it. A `missed` row only counts: the occurrence that it stands at becomes a run like the others that
# it counts, and keeps the count of those. Guarded by the job's version, from which the instants were computed.
BACKFILL = f"""
WITH job AS (
    SELECT job_id, name, version FROM {{schema}}.jobs WHERE job_id = :job_id AND version = :version FOR SHARE
), added AS (
    INSERT INTO {{schema}}.runs AS r (run_id, job_id, job_name, scheduled_for, due_at, origin, status,
                                      definition_version)
    SELECT o.run_id, job.job_id, job.name, o.scheduled_for, o.scheduled_for, 'backfill', 'pending', job.version
    FROM job, unnest(CAST(:run_ids AS uuid[]), CAST(:scheduled_fors AS timestamptz[])) AS o (run_id, scheduled_for)
    ON CONFLICT (job_id, scheduled_for) DO UPDATE
    SET status = 'pending', origin = 'backfill', reason = NULL, finished_at = NULL, term = NULL, instance_id = NULL,
        definition_version = excluded.definition_version,
        missed_count = CASE WHEN r.missed_count > 1 THEN r.missed_count END,
        missed_from = CASE WHEN r.missed_count > 1 THEN r.missed_from END
    WHERE r.status = 'missed'
    RETURNING r.run_id
), nudged AS (
    SELECT pg_notify('{NUDGE_CHANNEL}', :schema || ':') WHERE EXISTS (SELECT FROM added)
)
SELECT (SELECT count(*) FROM job) AS found, (SELECT count(*) FROM added) AS made,
       (SELECT count(*) FROM nudged) AS nudged
"""

KEPT_FROM = """
SELECT (max(day) + 1)::timestamp AT TIME ZONE 'UTC' AS instant FROM {schema}.daily_summaries WHERE is_final
"""

MAX_TRIES = 100
"""Runs of one job that somebody asks for at one instant."""


class RequestStore:
    """Requests of operators, on the tables `runs` and `leader_terms`."""

    def __init__(self, database: Database, partitions: Partitions) -> None:
        self._database = database
        self._partitions = partitions

    async def rerun(self, run_id: UUID, new_id: UUID | None = None, at: datetime | None = None) -> RerunAnswer | None:
        """Add a run for now, under `new_id` if given, that repeats a finished one; None if there is no such run.

        Parameters: at, what now is, where the database's clock does not say it.
        """
        for _ in range(MAX_TRIES):
            new_run_id_ = new_id or new_run_id(datetime.now(UTC))
            row = await self._with_today(
                RERUN, {"run_id": run_id, "new_run_id": new_run_id_, "at": at, "schema": self._database.schema}
            )
            if row is None:
                return None
            status = RunStatus(row.status)
            if not status.is_finished or not row.job_exists:
                return RerunAnswer(row.job_id, status, row.job_exists, None)
            if row.scheduled_for is not None:
                moment, version = row.scheduled_for, row.definition_version
                run = Run(new_run_id_, row.job_id, moment, moment, Origin.RERUN, 0, version)
                return RerunAnswer(row.job_id, status, True, run)
            at = at and at + TICK
        raise JobConflictError(f"the job of run {run_id} is asked to run too often at one instant: try again")

    async def cancel(self, run_id: UUID, by: str) -> CancelAnswer | None:
        """End a waiting run, ask for a running one to be ended; None if there is no such run."""
        asked = await self._database.fetch_one(
            CANCEL,
            {"run_id": run_id, "by": by, "schema": self._database.schema, "message": f"{CANCEL_REQUEST}{run_id}"},
        )
        row = asked or await self._database.fetch_one(STATE, {"run_id": run_id})
        if row is None:
            return None
        return CancelAnswer(
            run_id=row.run_id,
            job_id=row.job_id,
            scheduled_for=row.scheduled_for,
            status=RunStatus(row.status),
            instance_id=row.instance_id,
            changed=asked is not None,
        )

    async def cancelled_since(self, since: datetime | None, instance_id: str) -> CancelledRuns:
        """The runs of a replica that somebody asked to be cancelled since then (None: in the last minute)."""
        row = await self._database.fetch_one(CANCELLED_SINCE, {"since": since, "instance_id": instance_id})
        assert row is not None
        return CancelledRuns(row.now, tuple(row.run_ids))

    async def cancelled_among(self, run_ids: Collection[UUID]) -> Sequence[UUID]:
        """Those of these runs that somebody asked to be cancelled."""
        return [row.run_id for row in await self._database.fetch(CANCELLED_AMONG, {"run_ids": list(run_ids)})]

    async def ask_to_resign(self, term: int, by: str) -> bool:
        """Ask whoever leads in this term to resign; False if the term has ended."""
        message = f"{RESIGN_REQUEST}{term}"
        given = {"term": term, "by": by, "schema": self._database.schema, "message": message}
        return await self._database.fetch_one(ASK_TO_RESIGN, given) is not None

    async def asked_to_resign(self, term: int) -> str | None:
        """Who asked the leader of this term to resign; None if nobody did."""
        row = await self._database.fetch_one(ASKED_TO_RESIGN, {"term": term})
        return None if row is None else row.who

    async def rows_between(self, job_id: str, start: datetime, end: datetime) -> dict[datetime, str]:
        """The job's rows in [start, end] by their instant, with their status."""
        rows = await self._database.fetch(ROWS_BETWEEN, {"job_id": job_id, "start": start, "end": end})
        return {row.scheduled_for.astimezone(UTC): row.status for row in rows}

    async def kept_from(self) -> datetime | None:
        """The first instant whose runs were not dropped; None if none ever were."""
        row = await self._database.fetch_one(KEPT_FROM)
        return None if row is None else row.instant

    async def backfill(self, job_id: str, version: int, instants: Sequence[datetime]) -> int | None:
        """Add runs for these occurrences where they have none.

        Returns how many were added; None if the job is not at this version any more, and then none was.
        """
        parameters = {
            "job_id": job_id,
            "version": version,
            "run_ids": [new_run_id(instant) for instant in instants],
            "scheduled_fors": list(instants),
            "schema": self._database.schema,
        }
        try:
            row = await self._database.fetch_one(BACKFILL, parameters)
        except MissingPartitionError:
            await self._partitions.ensure(instants)
            row = await self._database.fetch_one(BACKFILL, parameters)
        return int(row.made) if row is not None and row.found else None

    async def _with_today(self, statement: str, parameters: Mapping[str, Any]) -> Row | None:
        try:
            return await self._database.fetch_one(statement, parameters)
        except MissingPartitionError:
            await self._partitions.ensure([await self._database.now()])
            return await self._database.fetch_one(statement, parameters)

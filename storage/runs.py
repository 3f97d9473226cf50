"""The hot path's statements: what is due, the claim, the outcome, the takeover of runs.

They work on batches, in arrays. Each is one statement, and so one transaction. All of them lock jobs in job_id
order before anything else of a job: claim and outcome would otherwise deadlock (measured: six times in six
seconds). Each names a range of `scheduled_for`, so that only the partitions concerned are planned and read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from scheduler_core.domain.errors import NotLeaderError, ServerUnreachableError
from scheduler_core.domain.planning import Plan
from scheduler_core.domain.run import Origin, Outcome, Run, RunStatus
from scheduler_core.ports import Claimed, DueJob, DueJobs, Leadership, Owner, Recorded
from storage.calendars import REVISION
from storage.database import Database, MissingPartitionError, Row
from storage.jobs import LOAD, count_of
from storage.keys import NUDGE_CHANNEL, new_run_id
from storage.partitions import Partitions

# The clock is read once, in a sub-select, so that the index on due_at serves the comparison. Work and answer
# grow with what is due, not with what is stored. Claimed within `ahead` is all but at_most_once, which has an index
# of its own for being looked for there.
DUE = """
WITH clock AS MATERIALIZED (
    SELECT now, now + make_interval(secs => :ahead) AS horizon FROM (SELECT clock_timestamp() AS now) AS read
), due AS (
    SELECT job_id, version, next_run FROM {schema}.jobs
    WHERE due_at <= (SELECT horizon FROM clock)
      AND (delivery = 'at_least_once' OR due_at <= (SELECT now FROM clock))
      AND NOT job_id = ANY(CAST(:excluding AS text[]))
    ORDER BY due_at LIMIT :limit
), listed AS (
    SELECT array_agg(job_id) AS job_ids, array_agg(version) AS versions, array_agg(next_run) AS cursors FROM due
)
SELECT (SELECT now FROM clock) AS now,
       least((SELECT due_at FROM {schema}.jobs
              WHERE due_at > (SELECT horizon FROM clock) AND NOT job_id = ANY(CAST(:excluding AS text[]))
              ORDER BY due_at LIMIT 1),
             (SELECT due_at FROM {schema}.jobs
              WHERE due_at > (SELECT now FROM clock) AND delivery = 'at_most_once'
                AND NOT job_id = ANY(CAST(:excluding AS text[]))
              ORDER BY due_at LIMIT 1)) AS next_due_at,
       {calendars} AS calendars_revision,
       job_ids, versions, cursors
FROM listed
""".replace("{calendars}", REVISION.strip())

# Fenced: FOR SHARE holds the leader's row until commit, so no successor can raise the term in between, and a
# claim that waited behind one re-reads the row and finds its own term gone. (FOR KEY SHARE would not conflict
# with the successor's update: a zombie could commit after its term.) Cursor and runs move together or not at all.
# Plans come in job_id order, and LATERAL has their rows locked in it, each found by its key however many there are;
# IN ... IS TRUE keeps a set a hash table where a join might be planned for ten rows and get two thousand.
CLAIM = """
WITH fence AS (
    SELECT term FROM {schema}.leader WHERE term = :term AND nonce = :nonce FOR SHARE
), locked AS (
    SELECT p.job_id, p.next_run, p.due_at
    FROM unnest(CAST(:job_ids AS text[]), CAST(:cursors AS timestamptz[]), CAST(:versions AS bigint[]),
                CAST(:next_runs AS timestamptz[]), CAST(:next_due_ats AS timestamptz[]))
         AS p (job_id, cursor, version, next_run, due_at)
    CROSS JOIN LATERAL (
        SELECT FROM {schema}.jobs j
        WHERE j.job_id = p.job_id AND j.next_run = p.cursor AND j.version = p.version AND EXISTS (SELECT FROM fence)
        FOR NO KEY UPDATE OF j
    ) AS held
), moved AS (
    UPDATE {schema}.jobs j
    SET next_run = l.next_run, due_at = l.due_at,
        finished_at = CASE WHEN l.next_run IS NULL THEN clock_timestamp() END
    FROM locked l
    WHERE j.job_id = l.job_id
    RETURNING j.job_id
), fired AS (
    INSERT INTO {schema}.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, reason, term,
                               instance_id, definition_version, missed_count, missed_from, finished_at)
    SELECT f.run_id, f.job_id, f.job_name, f.scheduled_for, f.due_at, 'schedule', f.status, f.reason, :term,
           f.owner, f.version, f.missed_count, f.missed_from,
           CASE WHEN f.status IN ('missed', 'skipped') THEN clock_timestamp() END
    FROM unnest(CAST(:run_ids AS uuid[]), CAST(:run_job_ids AS text[]), CAST(:run_job_names AS text[]),
                CAST(:run_versions AS bigint[]), CAST(:scheduled_fors AS timestamptz[]),
                CAST(:due_ats AS timestamptz[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]),
                CAST(:owners AS text[]), CAST(:missed_counts AS bigint[]), CAST(:missed_froms AS timestamptz[]))
         AS f (run_id, job_id, job_name, version, scheduled_for, due_at, status, reason, owner, missed_count,
               missed_from)
    WHERE (f.job_id IN (SELECT job_id FROM moved)) IS TRUE
    -- An occurrence that has its row already fires no second time. A count must not get lost with it.
    ON CONFLICT (job_id, scheduled_for) DO UPDATE
    SET missed_count = excluded.missed_count, missed_from = excluded.missed_from
    WHERE excluded.missed_count IS NOT NULL AND {schema}.runs.missed_count IS NULL
    RETURNING run_id
)
SELECT (SELECT term FROM fence) AS term,
       ARRAY(SELECT job_id FROM moved) AS moved,
       ARRAY(SELECT run_id FROM fired) AS fired
"""

# After a lost reply: what the claim of exactly these run ids has won.
CLAIMED = """
SELECT CAST(:term AS bigint) AS term,
       ARRAY(SELECT j.job_id FROM {schema}.jobs j
             JOIN unnest(CAST(:job_ids AS text[]), CAST(:next_runs AS timestamptz[])) AS p (job_id, next_run)
               ON j.job_id = p.job_id AND j.next_run IS NOT DISTINCT FROM p.next_run) AS moved,
       ARRAY(SELECT run_id FROM {schema}.runs
             WHERE run_id = ANY(CAST(:run_ids AS uuid[]))
               AND scheduled_for = ANY(CAST(:scheduled_fors AS timestamptz[]))
               AND term = :term AND instance_id = :instance_id AND status = 'pending') AS fired
"""

START = """
UPDATE {schema}.runs
SET status = 'running', started_at = coalesce(started_at, :started_at), attempt_started_at = :started_at
WHERE run_id = :run_id AND scheduled_for = :scheduled_for AND instance_id = :instance_id AND term = :term
  AND status IN ('pending', 'queued', 'retrying')
RETURNING run_id
"""

# Guarded by run, owner and the owner's term of adoption, and not by the current term: a live former leader may
# still tell what truly happened, unless somebody else has taken the run. What comes too late is kept as an
# attempt that says so, and overwrites nothing. A batch that is sent again after a lost reply finds its own
# traces (same status, attempt and end) and changes nothing. Where this statement's snapshot shows a row that could
# have been updated and was not (its twin, whose reply got lost, was at it at the same moment), nothing is concluded:
# the caller asks again. Where somebody asked for a cancel, a run that would wait ends instead; and an owner that had
# begun what looked as if it waited still tells how its attempt ended.
RECORD = (
    """
WITH told AS (
    SELECT * FROM unnest(CAST(:run_ids AS uuid[]), CAST(:job_ids AS text[]),
                         CAST(:scheduled_fors AS timestamptz[]), CAST(:terms AS bigint[]),
                         CAST(:statuses AS text[]), CAST(:reasons AS text[]), CAST(:attempts AS integer[]),
                         CAST(:started_ats AS timestamptz[]), CAST(:attempt_started_ats AS timestamptz[]),
                         CAST(:finished_ats AS timestamptz[]), CAST(:next_attempt_ats AS timestamptz[]),
                         CAST(:outcomes AS text[]), CAST(:error_types AS text[]),
                         CAST(:error_messages AS text[]), CAST(:tracebacks AS text[]))
             AS t (run_id, job_id, scheduled_for, term, status, reason, attempt, started_at, attempt_started_at,
                   finished_at, next_attempt_at, outcome, error_type, error_message, traceback)
), locked AS (
    SELECT count(*) AS jobs FROM told t CROSS JOIN LATERAL (
        SELECT FROM {schema}.jobs j
        WHERE j.job_id = t.job_id AND (t.outcome IS NOT NULL OR t.status IN {finished})
        FOR NO KEY UPDATE OF j
    ) AS held
), updated AS (
    UPDATE {schema}.runs r
    SET status = CASE WHEN {honours} THEN 'cancelled' ELSE t.status END,
        reason = CASE WHEN {honours} THEN 'requested' ELSE t.reason END,
        attempt = t.attempt,
        started_at = coalesce(r.started_at, t.started_at),
        attempt_started_at = coalesce(t.attempt_started_at, r.attempt_started_at),
        finished_at = CASE WHEN t.status IN {finished} THEN t.finished_at
                           WHEN {honours} THEN clock_timestamp() END,
        next_attempt_at = CASE WHEN NOT {honours} THEN t.next_attempt_at END,
        instance_id = CASE WHEN t.status = 'pending' THEN NULL ELSE r.instance_id END,
        error = CASE WHEN t.outcome IS NOT NULL THEN left(concat_ws(': ', t.error_type, t.error_message), 2000)
                     WHEN t.status = 'succeeded' THEN NULL
                     ELSE r.error END
    FROM told t
    WHERE r.run_id = t.run_id AND r.job_id = t.job_id AND r.scheduled_for = t.scheduled_for
      AND r.scheduled_for >= :earliest
      AND r.instance_id = :instance_id AND r.term = t.term AND {is_open}
      AND r.attempt <= t.attempt AND (r.attempt < t.attempt OR t.outcome IS NULL)
      AND (SELECT jobs FROM locked) >= 0
    RETURNING r.run_id, r.job_id, r.status, r.started_at, t.outcome, t.error_type, t.error_message, t.finished_at
), remaining AS (
    SELECT * FROM told WHERE (run_id IN (SELECT run_id FROM updated)) IS NOT TRUE
), repeated AS (
    SELECT t.run_id FROM remaining t JOIN {schema}.runs r
      ON r.run_id = t.run_id AND r.job_id = t.job_id AND r.scheduled_for = t.scheduled_for
     AND r.scheduled_for >= :earliest
     AND r.term = t.term AND r.status = t.status AND r.attempt = t.attempt
     AND (r.finished_at IS NOT DISTINCT FROM CASE WHEN t.status IN {finished} THEN t.finished_at END
          OR r.status = 'cancelled' AND r.cancel_requested_at IS NOT NULL)
), refused AS (
    SELECT t.run_id, r.run_id IS NOT NULL AND NOT (
               r.instance_id = :instance_id AND r.term = t.term AND {is_open}
               AND r.attempt <= t.attempt AND (r.attempt < t.attempt OR t.outcome IS NULL)) IS TRUE AS is_late
    FROM remaining t LEFT JOIN {schema}.runs r
      ON r.run_id = t.run_id AND r.job_id = t.job_id AND r.scheduled_for = t.scheduled_for
     AND r.scheduled_for >= :earliest
    WHERE (t.run_id IN (SELECT run_id FROM repeated)) IS NOT TRUE
), ended AS (
    SELECT *, (run_id IN (SELECT run_id FROM refused WHERE is_late)) IS TRUE AS is_late
    FROM told WHERE outcome IS NOT NULL OR status = 'succeeded'
), kept AS (
    INSERT INTO {schema}.attempts (run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome,
                                     error_type, error_message, traceback, term, instance_id, late)
    SELECT run_id, job_id, scheduled_for, attempt, coalesce(attempt_started_at, started_at), finished_at,
           coalesce(outcome, status), error_type, error_message, traceback, term, :instance_id, is_late
    FROM ended
    WHERE outcome IS NOT NULL OR is_late
    ON CONFLICT (job_id, scheduled_for, attempt, term, outcome) DO NOTHING
), counted AS (
    SELECT job_id, max(started_at) AS last_run,
           count(*) FILTER (WHERE status IN ('succeeded', 'failed', 'lost')) AS ended,
           count(*) FILTER (WHERE outcome <> 'cancelled') AS failed_attempts,
           count(*) FILTER (WHERE status IN ('failed', 'lost')) AS failed_runs,
           bool_or(status = 'succeeded') AS any_success,
           (array_agg(status ORDER BY finished_at DESC) FILTER (WHERE status IN {finished}))[1] AS last_status,
           (array_agg(left(concat_ws(': ', error_type, error_message), 2000) ORDER BY finished_at DESC)
                FILTER (WHERE outcome <> 'cancelled'))[1] AS last_error
    FROM updated
    GROUP BY job_id
), tallied AS (
    UPDATE {schema}.jobs j
    SET run_count = j.run_count + c.ended,
        error_count = j.error_count + c.failed_attempts,
        last_run = greatest(j.last_run, c.last_run),
        last_status = coalesce(c.last_status, j.last_status),
        last_error = coalesce(c.last_error, j.last_error),
        consecutive_failures = CASE WHEN c.any_success THEN 0 ELSE j.consecutive_failures + c.failed_runs END,
        auto_disabled_at = CASE WHEN {disables} THEN clock_timestamp() ELSE j.auto_disabled_at END,
        due_at = CASE WHEN {disables} THEN NULL ELSE j.due_at END,
        version = CASE WHEN {disables} THEN j.version + 1 ELSE j.version END
    FROM counted c
    WHERE j.job_id = c.job_id
    RETURNING j.job_id
)
SELECT run_id, is_late FROM refused
""".replace("{honours}", "(t.status IN ('pending', 'queued', 'retrying') AND r.cancel_requested_at IS NOT NULL)")
    .replace(
        "{is_open}",
        "(r.status IN ('pending', 'queued', 'running', 'retrying') "
        "OR r.status = 'cancelled' AND t.status = 'cancelled' AND r.cancel_requested_at IS NOT NULL "
        "AND r.attempt < t.attempt)",
    )
    .replace("{finished}", "('succeeded', 'failed', 'skipped', 'missed', 'lost', 'cancelled')")
    .replace(
        "{disables}",
        "NOT c.any_success AND c.failed_runs > 0 AND j.auto_disabled_at IS NULL "
        "AND j.consecutive_failures + c.failed_runs >= j.disable_after",
    )
)

# Runs that nobody alive has begun: handed back or triggered (no owner), or waiting under an owner that is not
# this process. A live former leader hands its waiting runs back as soon as it learns that it was deposed; one
# that is alive and silent loses them a TTL after the term began, when its trust window must have closed: each
# start asks the trust window. A run of our own that we don't know of is one whose claim or adoption was never
# answered: it counts once no answer can come any more. Backfilled runs, old as they are, come after all others. Fenced
# like the claim.
ADOPT = """
WITH fence AS (
    SELECT term, acquired_at FROM {schema}.leader WHERE term = :term AND nonce = :nonce FOR SHARE
), silenced AS (
    SELECT instance_id FROM {schema}.instances
    WHERE ended_at IS NOT NULL OR life_key IS NOT NULL AND NOT {schema}.witness_held(life_key)
), waiting AS (
    SELECT r.run_id, r.job_id, r.scheduled_for FROM {schema}.runs r
    WHERE EXISTS (SELECT FROM fence)
      AND (r.instance_id IS NULL OR r.instance_id = :instance_id
           OR r.instance_id IN (SELECT instance_id FROM silenced)
           OR (SELECT acquired_at FROM fence) < clock_timestamp() - make_interval(secs => :trust))
      AND r.status IN ('pending', 'queued', 'retrying')
      AND (r.instance_id IS DISTINCT FROM :instance_id OR r.term IS DISTINCT FROM :term
           OR r.created_at < clock_timestamp() - make_interval(secs => :unanswered))
      AND (r.run_id IN (SELECT unnest(CAST(:mine AS uuid[])))) IS NOT TRUE
      AND NOT (r.origin = 'backfill' AND r.job_id = ANY(CAST(:full AS text[])))
      AND (r.reason IS DISTINCT FROM 'no_callback' OR EXISTS (
              SELECT FROM {schema}.jobs j
              WHERE j.job_id = r.job_id AND j.callback = ANY(CAST(:callables AS text[]))))
    ORDER BY r.origin = 'backfill', r.scheduled_for, r.job_id
    LIMIT :limit
    FOR UPDATE OF r SKIP LOCKED
)
UPDATE {schema}.runs r
SET instance_id = :instance_id, term = :term, reason = NULL
FROM waiting w
WHERE r.run_id = w.run_id AND r.job_id = w.job_id AND r.scheduled_for = w.scheduled_for
RETURNING r.run_id, r.job_id, r.scheduled_for, r.due_at, r.origin, r.term, r.definition_version, r.attempt,
          r.deliveries, r.next_attempt_at, r.status
"""

# FIELD: river #342, jobs declared on one service vanish when another leads. The longest waiting run decides.
HEIR = """
SELECT i.instance_id
FROM {schema}.runs r
JOIN {schema}.jobs j USING (job_id)
JOIN {schema}.instances i ON j.callback = ANY(i.callbacks)
WHERE r.status = 'pending' AND r.reason = 'no_callback'
  AND i.instance_id <> :instance_id AND i.eligible AND i.ended_at IS NULL
  AND i.last_seen > clock_timestamp() - make_interval(secs => :silence)
  AND (i.life_key IS NULL OR {schema}.witness_held(i.life_key))
  AND NOT j.callback = ANY(SELECT unnest(callbacks) FROM {schema}.instances WHERE instance_id = :instance_id)
ORDER BY r.scheduled_for, i.started_at DESC
LIMIT 1
"""

OWNERS = """
WITH begun AS (
    SELECT instance_id, array_agg(DISTINCT job_id) AS job_ids FROM {schema}.runs
    WHERE status = 'running' AND instance_id IS NOT NULL
    GROUP BY instance_id
)
SELECT b.instance_id, b.job_ids,
       CASE WHEN i.life_key IS NOT NULL THEN {schema}.witness_held(i.life_key)
            ELSE i.ended_at IS NULL AND i.last_seen > clock_timestamp() - make_interval(secs => :silence)
       END IS TRUE AS alive
FROM begun b LEFT JOIN {schema}.instances i USING (instance_id)
"""

# An owner's death ends the attempt as `lost` and counts a delivery; one that has come back since is not dead. Then
# the delivery policy: at_most_once ends the run; at_least_once gives it back to be adopted, with a pause that
# doubles from the second time on, until the limit: a callback that kills its process must not kill every replica in
# turn. Whoever asked for a cancel gets it. Jobs are locked before runs, as everywhere: what was chosen is looked at
# again once it is locked.
BURY = """
WITH fence AS (
    SELECT term FROM {schema}.leader WHERE term = :term AND nonce = :nonce FOR SHARE
), dead AS (
    SELECT r.run_id, r.job_id, r.scheduled_for, r.attempt, r.deliveries, r.term, r.instance_id,
           r.attempt_started_at, coalesce(j.delivery, 'at_least_once') AS delivery
    FROM {schema}.runs r LEFT JOIN {schema}.jobs j USING (job_id)
    WHERE EXISTS (SELECT FROM fence) AND r.status = 'running'
      AND r.instance_id = ANY(CAST(:dead AS text[]))
      AND NOT EXISTS (SELECT FROM {schema}.instances i
                      WHERE i.instance_id = r.instance_id AND i.life_key IS NOT NULL
                        AND {schema}.witness_held(i.life_key))
    ORDER BY r.job_id
    LIMIT :limit
), locked AS (
    SELECT job_id FROM {schema}.jobs WHERE job_id IN (SELECT job_id FROM dead)
    ORDER BY job_id COLLATE "C"
    FOR NO KEY UPDATE
), updated AS (
    UPDATE {schema}.runs r
    SET deliveries = r.deliveries + 1,
        status = CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancelled'
                      WHEN d.delivery = 'at_most_once' THEN 'lost'
                      WHEN r.deliveries + 1 >= :max_deliveries THEN 'failed'
                      WHEN r.attempt > 0 THEN 'retrying'
                      ELSE 'pending' END,
        reason = CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'requested'
                      WHEN d.delivery = 'at_most_once' OR r.deliveries + 1 >= :max_deliveries
                      THEN 'owner_died' END,
        finished_at = CASE WHEN d.delivery = 'at_most_once' OR r.deliveries + 1 >= :max_deliveries
                                OR r.cancel_requested_at IS NOT NULL
                           THEN clock_timestamp() END,
        next_attempt_at = CASE WHEN r.deliveries >= 1 AND r.cancel_requested_at IS NULL
                               THEN clock_timestamp() + make_interval(secs => power(2, r.deliveries)) END,
        error = 'OwnerDied: the replica that ran this attempt died',
        instance_id = NULL
    FROM dead d
    WHERE r.run_id = d.run_id AND r.job_id = d.job_id AND r.scheduled_for = d.scheduled_for
      AND r.status = 'running' AND r.instance_id = d.instance_id
      AND (SELECT count(*) FROM locked) >= 0
    RETURNING r.run_id, r.job_id, r.scheduled_for, r.attempt, r.attempt_started_at, r.term, d.instance_id, r.status,
              r.started_at
), kept AS (
    INSERT INTO {schema}.attempts (run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome,
                                   error_type, error_message, term, instance_id)
    SELECT run_id, job_id, scheduled_for, attempt + 1, attempt_started_at, clock_timestamp(), 'lost',
           'OwnerDied', 'the replica that ran this attempt died', coalesce(term, 0), instance_id
    FROM updated
    ON CONFLICT (job_id, scheduled_for, attempt, term, outcome) DO NOTHING
), tallied AS (
    UPDATE {schema}.jobs j
    SET run_count = j.run_count + c.ended,
        consecutive_failures = j.consecutive_failures + c.ended,
        last_run = greatest(j.last_run, c.last_run),
        last_status = CASE WHEN c.ended > 0 THEN c.last_status ELSE j.last_status END
    FROM (SELECT job_id, count(*) FILTER (WHERE status IN ('lost', 'failed')) AS ended,
                 max(started_at) AS last_run, max(status) AS last_status
          FROM updated GROUP BY job_id) AS c
    WHERE j.job_id = c.job_id
)
SELECT count(*) AS buried FROM updated
"""

TRIGGER = f"""
WITH added AS (
    INSERT INTO {{schema}}.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status,
                                 definition_version)
    SELECT :run_id, job_id, name, moment.now, moment.now, :origin, 'pending', version
    FROM {{schema}}.jobs, (SELECT clock_timestamp() AS now) AS moment
    WHERE job_id = :job_id
    RETURNING run_id, job_id, scheduled_for, due_at, origin, definition_version
)
SELECT added.*, pg_notify('{NUDGE_CHANNEL}', :schema || ':') FROM added
"""

HOT_PATH_SETTINGS = {
    # Planning one of these statements costs more than running it for a few rows; they are written so that the plan
    # for any number of rows is good for all: found by key, row by row, and sets as hash tables.
    "plan_cache_mode": "force_generic_plan",
    # What is due lies in memory. A plan that sorts it, or walks the dead entries of the index anew, is never cheaper.
    "random_page_cost": "1.1",
    "enable_bitmapscan": "off",
    "jit": "off",
}
"""Of the sessions that the engine uses; reports have their own."""

MAX_INSTANCE_SILENCE_SECONDS = 30.0

WARM_CONNECTIONS = 3
"""The loop, recovery and the recorder each have a statement under way when a term begins."""


class RunStore:
    """The tables `runs` and `attempts`, and the cursors that claims move.

    Parameters: timeout_seconds, when the answer to a statement of the hot path is given up.
    """

    def __init__(self, database: Database, partitions: Partitions, *, timeout_seconds: float) -> None:
        self._database = database
        self._partitions = partitions
        self._timeout_seconds = timeout_seconds

    async def due(self, *, ahead_seconds: float, limit: int, excluding: Sequence[str]) -> DueJobs:
        """The jobs that are due within `ahead_seconds`, at most `limit`, earliest first.

        `at_most_once` jobs are due at their instant and not ahead of it.
        """
        rows = await self._fetch(DUE, {"ahead": ahead_seconds, "limit": limit, "excluding": list(excluding)})
        (row,) = rows
        jobs = list(map(DueJob, row.job_ids or (), row.versions or (), row.cursors or ()))
        return DueJobs(row.now, jobs, row.next_due_at, row.calendars_revision)

    async def claim(self, leadership: Leadership, plans: Sequence[Plan], *, uncallable: bool) -> Claimed:
        """Move the plans' cursors and insert their runs, in one fenced statement.

        Parameters: uncallable, insert the fires as `pending / no_callback` without an owner, because this
        replica can't call them. Raises NotLeaderError if the term has ended; then nothing was changed.
        """
        plans = sorted(plans, key=_job_id_of)
        runs = {run.run_id: run for plan in plans for run in _runs_of(plan, leadership)}
        parameters = _claim_parameters(leadership, plans, runs, uncallable)
        try:
            row = await self._with_partitions(CLAIM, parameters)
        except ServerUnreachableError:
            # A reply that got lost is not an answer: what the claim won is read again. Where it can't be, or the
            # server is still at it, `adopt` finds the runs later.
            row = await self._with_partitions(CLAIMED, parameters | {"instance_id": leadership.instance_id})
        if row is None or row.term is None:
            raise NotLeaderError(f"term {leadership.term} has ended: another replica leads; nothing was claimed")
        won = set(row.fired)
        return Claimed([run for run_id, run in runs.items() if run_id in won], frozenset(row.moved))

    async def warm_up(self) -> None:
        """Run each statement of the hot path once, on nothing, on as many connections as a takeover uses at once.

        Parsed, prepared and planned by then, they cost a new leader's first fire tens of milliseconds less.
        """
        nobody = Leadership(-1, "", "")
        moment = datetime.now(UTC)
        statements: Sequence[tuple[str, Mapping[str, Any]]] = (
            (DUE, {"ahead": 0.0, "limit": 0, "excluding": []}),
            (CLAIM, _claim_parameters(nobody, (), {}, False)),
            (ADOPT, _adopt_parameters(nobody, (), (), 0.0, 0.0, 0, ())),
            (OWNERS, {"silence": MAX_INSTANCE_SILENCE_SECONDS}),
            (HEIR, {"instance_id": "", "silence": MAX_INSTANCE_SILENCE_SECONDS}),
            (LOAD, {"job_ids": []}),
            (RECORD, {**_record_parameters(()), "instance_id": "", "earliest": moment}),
        )

        async def once() -> None:
            for statement, parameters in statements:
                await self._database.fetch(statement, parameters)

        await asyncio.gather(*(once() for _ in range(WARM_CONNECTIONS)))

    async def start(self, run: Run, instance_id: str, started_at: datetime) -> bool:
        """Mark a run `running` before its callback is called; False if it is not ours any more."""
        parameters = {
            "run_id": run.run_id,
            "scheduled_for": run.scheduled_for,
            "instance_id": instance_id,
            "term": run.term,
            "started_at": started_at,
        }
        return bool(await self._fetch(START, parameters))

    async def record(self, outcomes: Sequence[Outcome], instance_id: str) -> Recorded:
        """Record a batch, at most one outcome per run; returns what was not taken as it is."""
        if not outcomes:
            return Recorded()
        outcomes = sorted(outcomes, key=lambda outcome: outcome.run.job_id)
        scheduled = [outcome.run.scheduled_for for outcome in outcomes]
        parameters = {
            **_record_parameters(outcomes),
            "instance_id": instance_id,
            "earliest": min(scheduled),
        }
        try:
            rows = await self._fetch(RECORD, parameters)
        except MissingPartitionError:
            await self._partitions.ensure(scheduled)
            rows = await self._fetch(RECORD, parameters)
        return Recorded(
            late=frozenset(row.run_id for row in rows if row.is_late),
            unsettled=frozenset(row.run_id for row in rows if not row.is_late),
        )

    async def adopt(
        self,
        leadership: Leadership,
        *,
        mine: Sequence[UUID],
        callables: Sequence[str],
        trust_seconds: float,
        limit: int,
        full: Sequence[str] = (),
    ) -> list[Run]:
        """Take over runs that nobody alive has begun, at most `limit`, earliest first.

        Parameters: mine, runs that this process has in hand already; callables, callbacks that it can call;
        trust_seconds, how long a former leader may have gone on starting runs; full, jobs whose backfilled runs
        wait for those that are in hand.
        """
        unanswered_seconds = 3 * self._timeout_seconds
        parameters = _adopt_parameters(leadership, mine, callables, trust_seconds, unanswered_seconds, limit, full)
        rows = await self._fetch(ADOPT, parameters)
        return [_run(row) for row in rows]

    async def owners(self) -> list[Owner]:
        """The instances that have begun runs that have not ended."""
        rows = await self._fetch(OWNERS, {"silence": MAX_INSTANCE_SILENCE_SECONDS})
        return [Owner(row.instance_id, row.alive, tuple(row.job_ids)) for row in rows]

    async def heir(self, instance_id: str) -> str | None:
        """The replica that can call what a waiting run needs and `instance_id` lacks; None if there is none."""
        rows = await self._fetch(HEIR, {"instance_id": instance_id, "silence": MAX_INSTANCE_SILENCE_SECONDS})
        return rows[0].instance_id if rows else None

    async def bury(
        self, leadership: Leadership, dead_instances: Sequence[str], *, max_deliveries: int, limit: int
    ) -> int:
        """End the started attempts of dead replicas, at most `limit`; returns how many."""
        parameters = {
            "term": leadership.term,
            "nonce": leadership.nonce,
            "dead": list(dead_instances),
            "max_deliveries": max_deliveries,
            "limit": limit,
        }
        row = await self._with_partitions(BURY, parameters)
        return 0 if row is None else int(row.buried)

    async def trigger(self, job_id: str, origin: Origin) -> Run | None:
        """Add a run for now, which the leader adopts at once; None if there is no such job."""
        parameters = {
            "job_id": job_id,
            "run_id": new_run_id(datetime.now(UTC)),
            "origin": origin.value,
            "schema": self._database.schema,
        }
        row = await self._with_partitions(TRIGGER, parameters)
        if row is None:
            return None
        return Run(
            row.run_id,
            row.job_id,
            row.scheduled_for,
            row.due_at,
            Origin(row.origin),
            0,
            row.definition_version,
        )

    async def _with_partitions(self, statement: str, parameters: Mapping[str, Any]) -> Row | None:
        """Run a statement; if a row finds no partition, create the days concerned and run it again."""
        try:
            rows = await self._fetch(statement, parameters)
        except MissingPartitionError:
            now = await self._database.now()
            instants: Iterable[datetime] = [now, *parameters.get("scheduled_fors", ())]
            await self._partitions.ensure(instants)
            rows = await self._fetch(statement, parameters)
        return rows[0] if rows else None

    async def _fetch(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        return await self._database.fetch(statement, parameters, timeout_seconds=self._timeout_seconds)


def _job_id_of(plan: Plan) -> str:
    return plan.job.job_id


def _runs_of(plan: Plan, leadership: Leadership) -> list[Run]:
    return [
        Run(
            run_id=new_run_id(fire.scheduled_for),
            job_id=plan.job.job_id,
            scheduled_for=fire.scheduled_for,
            due_at=fire.due_at,
            origin=Origin.SCHEDULE,
            term=leadership.term,
            definition_version=plan.job.version,
        )
        for fire in plan.fires
    ]


def _claim_parameters(
    leadership: Leadership, plans: Sequence[Plan], runs: Mapping[UUID, Run], uncallable: bool
) -> dict[str, Any]:
    reason, owner = ("no_callback", None) if uncallable else (None, leadership.instance_id)
    names_of = {plan.job.job_id: plan.job.definition.name for plan in plans}
    rows: list[tuple[Any, ...]] = [
        (
            run.run_id,
            run.job_id,
            names_of[run.job_id],
            run.definition_version,
            run.scheduled_for,
            run.due_at,
            "pending",
            reason,
            owner,
            None,
            None,
        )
        for run in runs.values()
    ]
    rows += [
        (
            new_run_id(m.last),
            plan.job.job_id,
            plan.job.definition.name,
            plan.job.version,
            m.last,
            m.last,
            m.status.value,
            m.reason,
            None,
            *count_of(m),
        )
        for plan in plans
        for m in plan.missed
    ]
    names = (
        "run_ids",
        "run_job_ids",
        "run_job_names",
        "run_versions",
        "scheduled_fors",
        "due_ats",
        "statuses",
        "reasons",
        "owners",
        "missed_counts",
        "missed_froms",
    )
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return {
        "term": leadership.term,
        "nonce": leadership.nonce,
        "job_ids": [plan.job.job_id for plan in plans],
        "cursors": [plan.job.next_run for plan in plans],
        "versions": [plan.job.version for plan in plans],
        "next_runs": [plan.next_run for plan in plans],
        "next_due_ats": [plan.next_due_at for plan in plans],
        **{name: list(column) for name, column in zip(names, columns, strict=True)},
    }


def _adopt_parameters(
    leadership: Leadership,
    mine: Sequence[UUID],
    callables: Sequence[str],
    trust_seconds: float,
    unanswered_seconds: float,
    limit: int,
    full: Sequence[str],
) -> dict[str, Any]:
    return {
        "term": leadership.term,
        "nonce": leadership.nonce,
        "instance_id": leadership.instance_id,
        "mine": list(mine),
        "callables": list(callables),
        "trust": trust_seconds,
        "unanswered": unanswered_seconds,
        "limit": limit,
        "full": list(full),
    }


def _record_parameters(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    return {
        "run_ids": [o.run.run_id for o in outcomes],
        "job_ids": [o.run.job_id for o in outcomes],
        "scheduled_fors": [o.run.scheduled_for for o in outcomes],
        "terms": [o.run.term for o in outcomes],
        "statuses": [o.status.value for o in outcomes],
        "reasons": [o.reason for o in outcomes],
        "attempts": [o.attempt for o in outcomes],
        "started_ats": [o.started_at for o in outcomes],
        "attempt_started_ats": [o.attempt_started_at for o in outcomes],
        "finished_ats": [o.finished_at for o in outcomes],
        "next_attempt_ats": [o.next_attempt_at for o in outcomes],
        "outcomes": [o.failure.outcome if o.failure else None for o in outcomes],
        "error_types": [_storable(o.failure.error_type) if o.failure else None for o in outcomes],
        "error_messages": [_storable(o.failure.error_message) if o.failure else None for o in outcomes],
        "tracebacks": [_storable(o.failure.traceback) if o.failure else None for o in outcomes],
    }


def _storable(text: str, limit: int = 20_000) -> str:
    """What a callback raised, in a form that Postgres takes: no NUL, no lone surrogate, of bounded length."""
    return text[:limit].replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def _run(row: Row) -> Run:
    return Run(
        run_id=row.run_id,
        job_id=row.job_id,
        scheduled_for=row.scheduled_for,
        due_at=row.due_at,
        origin=Origin(row.origin),
        term=row.term,
        definition_version=row.definition_version,
        attempt=row.attempt,
        deliveries=row.deliveries,
        next_attempt_at=row.next_attempt_at,
        status=RunStatus(row.status),
    )

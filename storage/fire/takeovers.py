"""Takeovers: runs whose owners are gone, and who shall have them. All fenced by the term, like the claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from scheduler_core.domain.runs.run import Origin, Run, RunStatus
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import InvalidRun
from scheduler_core.storage.postgres.database import Row

# Where the unfinished runs begin, by their ids, which grow with time. While somebody keeps a transaction open, their
# index keeps each that has ended since, below the living ones; a look that begins here walks none of those.
EARLIEST_UNFINISHED = """
SELECT clock_timestamp() AS now, (
    SELECT run_id FROM {schema}.runs WHERE status IN {unfinished}
    ORDER BY run_id LIMIT 1
) AS run_id
"""

# Runs that nobody alive has begun: handed back or triggered (no owner), or waiting under an owner that is not this
# process. A live former leader hands its waiting runs back as soon as it learns that it was deposed; one that is alive
# and silent loses them a TTL after the term began, when its trust window must have closed: each start asks the trust
# window. A run of our own that we don't know of is one whose claim or adoption was never answered: it counts once no
# answer can come any more. What waits under the name of a worker, which never leads, is in the hand of a leader or in
# nobody's. Backfilled runs, old as they are, come after all others. Fenced like the claim. An instant that Python does
# not have (somebody wrote infinity) must not take the answer along. Whoever had a run that bears its name still, and is
# gone, may have begun it: it is counted as orphaned, so that one that kills its processes at once is found out. (What
# is at_most_once was not begun: its start would stand in the row.) What is offered is whoever's takes it.
ADOPT = """
WITH fence AS (
    SELECT term, acquired_at FROM {schema}.leader WHERE term = :term AND nonce = :nonce FOR SHARE
), silenced AS (
    SELECT instance_id FROM {schema}.instances
    WHERE ended_at IS NOT NULL OR NOT eligible OR life_key IS NOT NULL AND NOT {schema}.witness_held(life_key)
), waiting AS (
    SELECT r.run_id, r.job_id, r.scheduled_for FROM {schema}.runs r
    WHERE EXISTS (SELECT FROM fence)
      AND (r.instance_id IS NULL OR r.instance_id = :instance_id
           OR r.instance_id IN (SELECT instance_id FROM silenced)
           OR (SELECT acquired_at FROM fence) < clock_timestamp() - make_interval(secs => :trust))
      AND r.status IN {waiting} AND r.run_id >= :since
      AND (r.offered IS NULL OR r.instance_id IS NOT NULL)
      AND (r.instance_id IS DISTINCT FROM :instance_id OR r.term IS DISTINCT FROM :term
           OR r.created_at < clock_timestamp() - make_interval(secs => :unanswered))
      AND (r.run_id IN (SELECT unnest(CAST(:mine AS uuid[])))) IS NOT TRUE
      AND NOT (r.origin = 'backfill' AND r.job_id = ANY(CAST(:full AS text[])))
      AND (r.reason IS DISTINCT FROM 'no_callback' OR EXISTS (
              SELECT FROM {schema}.jobs j, {schema}.instances me
              WHERE j.job_id = r.job_id AND me.instance_id = :instance_id
                AND {schema}.can_call(me, j.callback, j.application)))
    ORDER BY r.origin = 'backfill', r.scheduled_for, r.job_id
    LIMIT :limit
    FOR UPDATE OF r SKIP LOCKED
)
UPDATE {schema}.runs r
SET instance_id = :instance_id, term = :term, reason = NULL, concurrency_key = NULL,
    orphaned = CASE WHEN r.instance_id <> :instance_id AND NOT EXISTS (
                             SELECT FROM {schema}.instances i
                             WHERE i.instance_id = r.instance_id
                               AND (NOT i.eligible OR i.ended_at IS NULL AND {schema}.witness_held(i.life_key)))
                    THEN coalesce(r.orphaned, 0) + 1 ELSE r.orphaned END
FROM waiting w
WHERE r.run_id = w.run_id AND r.job_id = w.job_id AND r.scheduled_for = w.scheduled_for
RETURNING r.run_id, r.job_id, r.scheduled_for, r.origin, r.term, r.definition_version, r.attempt,
          r.deliveries, r.status, coalesce(r.orphaned, 0) AS orphaned,
          CASE WHEN r.due_at BETWEEN {years} THEN r.due_at END AS due_at,
          CASE WHEN r.next_attempt_at BETWEEN {years} THEN r.next_attempt_at END AS next_attempt_at,
          (r.next_attempt_at NOT BETWEEN {years}) IS TRUE AS waits_for_ever
""".replace("{years}", "'0001-01-03' AND '9999-12-30'")

# river #342, jobs declared on one service vanish when another leads. The longest waiting run decides. What a replica
# says of its packages is a hint: this one has looked there in vain for the callbacks of the runs that it passes over. A
# successor has declared the callback, or has its package and newer code than this one: of two that both lack it the
# older never follows the newer, and so nobody takes turns for what nobody has.
# From what waits, which is seldom anything, to its job by key: joined, the plan that is made once, while there are few
# jobs, reads every job each time.
PREFERRED_SUCCESSOR = """
WITH waiting AS MATERIALIZED (
    SELECT r.scheduled_for, r.run_id = ANY(CAST(:passed_over AS uuid[])) AS is_passed_over,
           (SELECT j.callback FROM {schema}.jobs j WHERE j.job_id = r.job_id) AS callback,
           (SELECT j.application FROM {schema}.jobs j WHERE j.job_id = r.job_id) AS application
    FROM {schema}.runs r
    WHERE r.status = 'pending' AND r.reason = 'no_callback' AND r.run_id >= :since
)
SELECT i.instance_id
FROM waiting w
JOIN {schema}.instances i ON {schema}.can_call(i, w.callback, w.application)
JOIN {schema}.instances me ON me.instance_id = :instance_id
WHERE i.instance_id <> me.instance_id AND i.eligible AND i.ended_at IS NULL AND {schema}.is_alive(i)
  AND i.last_seen > clock_timestamp() - make_interval(secs => :silence)
  AND (w.is_passed_over OR NOT {schema}.can_call(me, w.callback, w.application))
  AND (w.callback = ANY(i.callbacks) OR i.started_at > me.started_at)
ORDER BY w.scheduled_for, w.callback = ANY(i.callbacks) DESC, i.started_at DESC
LIMIT 1
"""

# A leader without the zone of a due job can't tell when it is due next, and so fires nothing of it. Whoever knows the
# zone leads instead, unless that one lacks the job's callback and this one has it: then neither could run it, and the
# two would take turns. A zone that is misspelt nobody knows, and nobody leads for it.
SUCCESSOR_FOR_ZONES = """
WITH waiting AS MATERIALIZED (
    SELECT j.due_at, j.timezone, j.callback, j.application FROM {schema}.jobs j
    WHERE j.timezone = ANY(CAST(:zones AS text[])) AND j.due_at <= (SELECT clock_timestamp())
      AND j.next_run IS NOT NULL AND j.enabled AND j.auto_disabled_at IS NULL
    UNION ALL
    SELECT r.due_at, j.timezone, j.callback, j.application FROM {schema}.runs r JOIN {schema}.jobs j USING (job_id)
    WHERE r.status = 'pending' AND r.reason = 'no_timezone' AND j.timezone = ANY(CAST(:zones AS text[]))
)
SELECT i.instance_id
FROM waiting w
JOIN {schema}.instances i ON w.timezone = ANY(i.zones)
JOIN {schema}.instances me ON me.instance_id = :instance_id
WHERE i.instance_id <> me.instance_id AND i.eligible AND i.ended_at IS NULL AND {schema}.is_alive(i)
  AND i.last_seen > clock_timestamp() - make_interval(secs => :silence)
  AND ({schema}.can_call(i, w.callback, w.application) OR NOT {schema}.can_call(me, w.callback, w.application))
ORDER BY w.due_at, i.started_at DESC
LIMIT 1
"""

# What others have begun, what any replica has taken, and what is offered to whoever takes it: of the jobs of all these
# another run may have to wait.
OWNERS = """
WITH begun AS (
    SELECT instance_id, array_agg(run_id) AS run_ids, array_agg(job_id) AS job_ids,
           array_agg(scheduled_for) AS scheduled_fors
    FROM {schema}.runs
    WHERE status IN {unfinished} AND run_id >= :since
      AND CASE WHEN instance_id IS NULL THEN offered IS NOT NULL
               ELSE status = 'running' AND (offered IS NOT NULL OR instance_id <> :instance_id) END
    GROUP BY instance_id
)
SELECT b.instance_id, b.run_ids, b.job_ids, b.scheduled_fors,
       {schema}.is_alive(i) IS TRUE AS alive
FROM begun b LEFT JOIN {schema}.instances i USING (instance_id)
"""

# How attempts end that nobody will tell the end of: as `lost`, which counts a delivery. Whose, and in which words, is
# filled in below. Then the delivery policy: at_most_once ends the run; at_least_once gives it back to be adopted, with
# a pause that doubles from the second time on, until the limit: a callback that kills its process must not kill every
# replica in turn. Deaths before anybody knew whether the run had begun count as one. Whoever asked for a cancel gets
# it. Runs are locked before jobs, and both in job_id order, as everywhere: what was chosen is looked at again once it
# is locked.
_END_ATTEMPTS = """
WITH fence AS (
    {fence}
), unended AS (
    SELECT r.run_id, r.job_id, r.scheduled_for, r.attempt, r.deliveries, r.term, r.instance_id,
           r.attempt_started_at, coalesce(j.delivery, 'at_least_once') AS delivery,
           r.deliveries + 1 >= :max_deliveries - CASE WHEN r.orphaned > 1 THEN 1 ELSE 0 END AS is_enough
    FROM {schema}.runs r LEFT JOIN {schema}.jobs j USING (job_id)
    WHERE EXISTS (SELECT FROM fence) AND r.status = 'running'
      AND {which}
    ORDER BY r.job_id
    LIMIT :limit
), updated AS (
    UPDATE {schema}.runs r
    SET deliveries = r.deliveries + 1,
        status = CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'cancelled'
                      WHEN d.delivery = 'at_most_once' THEN 'lost'
                      WHEN d.is_enough THEN 'failed'
                      WHEN r.attempt > 0 THEN 'retrying'
                      ELSE 'pending' END,
        reason = CASE WHEN r.cancel_requested_at IS NOT NULL THEN 'requested'
                      WHEN d.delivery = 'at_most_once' OR d.is_enough THEN '{reason}' END,
        finished_at = CASE WHEN d.delivery = 'at_most_once' OR d.is_enough
                                OR r.cancel_requested_at IS NOT NULL
                           THEN clock_timestamp() END,
        next_attempt_at = CASE WHEN r.deliveries >= 1 AND r.cancel_requested_at IS NULL
                               THEN clock_timestamp() + make_interval(secs => power(2, r.deliveries)) END,
        error = '{error_type}: {error}',
        concurrency_key = CASE WHEN r.offered IS NOT NULL THEN r.concurrency_key END,
        instance_id = NULL
    FROM unended d
    WHERE r.run_id = d.run_id AND r.job_id = ANY (ARRAY[d.job_id]) AND r.scheduled_for = d.scheduled_for
      AND r.status = 'running' AND r.instance_id = d.instance_id
    RETURNING r.run_id, r.job_id, r.scheduled_for, r.attempt, r.attempt_started_at, r.term, d.instance_id, r.status,
              r.started_at
), kept AS (
    INSERT INTO {schema}.attempts (run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome,
                                   error_type, error_message, term, instance_id)
    SELECT run_id, job_id, scheduled_for, attempt + 1, attempt_started_at, clock_timestamp(), 'lost',
           '{error_type}', '{error}', coalesce(term, 0), instance_id
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
          FROM updated GROUP BY job_id ORDER BY job_id) AS c
    WHERE j.job_id = ANY (ARRAY[c.job_id])
)
SELECT count(*) AS reaped FROM updated
"""

# An owner that has come back since it was found dead is not dead.
REAP = (
    _END_ATTEMPTS.replace("{fence}", "SELECT term FROM {schema}.leader WHERE term = :term AND nonce = :nonce FOR SHARE")
    .replace(
        "{which}",
        """r.instance_id = ANY(CAST(:dead AS text[]))
      AND NOT EXISTS (SELECT FROM {schema}.instances i
                      WHERE i.instance_id = r.instance_id AND i.life_key IS NOT NULL
                        AND {schema}.witness_held(i.life_key))""",
    )
    .replace("{reason}", "owner_died")
    .replace("{error_type}", "OwnerDied")
    .replace("{error}", "the replica that ran this attempt died")
)

# A standby that was promoted may not have heard how an attempt ended: its owner lives, has the run no more, and so is
# the only one who knows that it will never end. No fence: the owner of an attempt may always tell how it ended.
GIVE_UP_FORGOTTEN = (
    _END_ATTEMPTS.replace("{fence}", "SELECT")
    .replace(
        "{which}",
        """r.instance_id = :instance_id AND (r.run_id = ANY(CAST(:mine AS uuid[]))) IS NOT TRUE
      AND r.attempt_started_at < clock_timestamp() - make_interval(secs => :begun_before)""",
    )
    .replace("{reason}", "end_unknown")
    .replace("{error_type}", "EndUnknown")
    .replace("{error}", "Postgres lost how this attempt ended: a standby was promoted that had not heard of it")
)


FIRST_OF_ALL = UUID(int=0)
"""No run's id is below it."""

_ORIGINS = frozenset(origin.value for origin in Origin)


def adopt_parameters(
    leadership: Leadership,
    mine: Sequence[UUID],
    trust_seconds: float,
    unanswered_seconds: float,
    limit: int,
    full: Sequence[str],
    since: UUID = FIRST_OF_ALL,
) -> dict[str, Any]:
    """Parameters of ADOPT."""
    return {
        "term": leadership.term,
        "nonce": leadership.nonce,
        "instance_id": leadership.instance_id,
        "mine": list(mine),
        "trust": trust_seconds,
        "unanswered": unanswered_seconds,
        "limit": limit,
        "full": list(full),
        "since": since,
    }


def adopted_run(row: Row) -> Run | InvalidRun:
    """A run that ADOPT returned. Nothing in a row is trusted: it may have been edited by hand."""
    if row.due_at is None or row.waits_for_ever:
        name = "due_at" if row.due_at is None else "next_attempt_at"
        return InvalidRun(row.run_id, row.job_id, f"{name} is no instant between the years 1 and 9999")
    if row.origin not in _ORIGINS:
        return InvalidRun(row.run_id, row.job_id, f"its origin is {row.origin!r}")
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
        orphaned=row.orphaned,
    )

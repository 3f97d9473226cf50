"""Offers: runs that whoever can execute them may take. The row is the ticket; a NOTIFY only has somebody look there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from scheduler_core.domain.runs.run import Run
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import HeldRun
from scheduler_core.storage.postgres.keys import OFFER_CHANNEL

# Runs whose turn has come only now; those that may begin at once are offered by their claim. Fenced like the claim, and
# guarded by the owner: what somebody cancelled, or took over, is offered to nobody.
OFFER = f"""
WITH fence AS (
    SELECT term FROM {{schema}}.leader WHERE term = :term AND nonce = :nonce FOR SHARE
), offered AS (
    UPDATE {{schema}}.runs r
    SET offered = o.executor, instance_id = NULL, reason = NULL,
        status = CASE WHEN r.status = 'queued' THEN 'pending' ELSE r.status END
    FROM unnest(CAST(:run_ids AS uuid[]), CAST(:job_ids AS text[]), CAST(:scheduled_fors AS timestamptz[]),
                CAST(:executors AS text[])) AS o (run_id, job_id, scheduled_for, executor)
    WHERE r.run_id = o.run_id AND r.job_id = ANY (ARRAY[o.job_id]) AND r.scheduled_for = o.scheduled_for
      AND r.instance_id = :instance_id AND r.status IN {{waiting}} AND EXISTS (SELECT FROM fence)
    RETURNING r.run_id
)
SELECT (SELECT term FROM fence) AS term, (SELECT count(*) FROM offered) AS offered,
       CASE WHEN EXISTS (SELECT FROM offered) THEN pg_notify('{OFFER_CHANNEL}', :schema) END AS noticed
"""

LOOKED_AT = 400
"""Of what is due so many more than are taken are put in order by priority: work grows with what is taken, not waits."""

# Owner and `running` at once: an owner alone would leave second calls that no record shows, after a death before the
# start was written down. SKIP LOCKED: of several replicas that look at once each takes others, and none waits. At most
# one is taken that begins alone (at_most_once, or one whose owner died): a death must not be charged to others like it.
# Of the first that are due the most urgent go first. Ahead of its instant is taken all but at_most_once, which is not
# to be lost with somebody who had not begun it. What this replica has found that it can't call it leaves alone for a
# while. started_at is written where it is certain; else the outcome tells it.
TAKE_OFFERED = """
WITH clock AS MATERIALIZED (
    SELECT now, now + make_interval(secs => :ahead) AS horizon FROM (SELECT clock_timestamp() AS now) AS read
), me AS MATERIALIZED (
    SELECT i FROM {schema}.instances i WHERE i.instance_id = :instance_id
), due AS MATERIALIZED (
    SELECT r.run_id, r.job_id, r.scheduled_for, coalesce(r.next_attempt_at, r.due_at) AS begins_at,
           coalesce(j.priority, 5) AS priority, coalesce(j.delivery = 'at_most_once', false) AS is_at_most_once
    FROM {schema}.runs r
    LEFT JOIN {schema}.jobs j ON j.job_id = r.job_id
    LEFT JOIN me ON true
    WHERE r.offered IS NOT NULL AND r.instance_id IS NULL AND r.status IN ('pending', 'retrying')
      AND coalesce(r.next_attempt_at, r.due_at) <= (SELECT horizon FROM clock)
      AND r.offered = ANY(CAST(:executors AS text[]))
      AND (coalesce(r.next_attempt_at, r.due_at) <= (SELECT now FROM clock) OR j.delivery = 'at_least_once')
      -- who has no row any more, because a hand deleted it, finds out what it can't call when it tries
      AND (j.job_id IS NULL OR (me.i).instance_id IS NULL OR {schema}.can_call(me.i, j.callback, j.application))
      AND (:takes_alone OR r.deliveries = 0 AND j.delivery = 'at_least_once')
      AND NOT r.run_id = ANY(CAST(:passed_over AS uuid[]))
      -- what somebody has made unreadable by hand stays where it is, and in sight
      AND r.due_at BETWEEN '0001-01-03' AND '9999-12-30' AND r.origin IN ('schedule', 'trigger', 'backfill', 'rerun')
    ORDER BY coalesce(r.next_attempt_at, r.due_at)
    LIMIT :within
), chosen AS MATERIALIZED (
    -- some to spare, as others may have them locked
    SELECT * FROM due ORDER BY priority, begins_at LIMIT 2 * :limit
), coming AS (
    SELECT r.run_id, r.job_id, r.scheduled_for, r.next_attempt_at,
           r.deliveries > 0 OR c.is_at_most_once AS is_alone
    FROM chosen c
    JOIN {schema}.runs r
      ON r.run_id = c.run_id AND r.job_id = ANY (ARRAY[c.job_id]) AND r.scheduled_for = c.scheduled_for
    -- looked at again once it is locked; `IS TRUE` is what no index serves, so that each is found by its key
    WHERE (r.offered IS NOT NULL AND r.instance_id IS NULL AND r.status IN ('pending', 'retrying')) IS TRUE
    ORDER BY c.priority, c.begins_at
    LIMIT :limit
    FOR UPDATE OF r SKIP LOCKED
), numbered AS (
    SELECT *, count(*) FILTER (WHERE is_alone) OVER (ORDER BY run_id) AS alone FROM coming
), taken AS (
    UPDATE {schema}.runs r
    SET status = 'running', reason = NULL, instance_id = :instance_id, next_attempt_at = NULL,
        started_at = CASE WHEN n.is_alone THEN coalesce(r.started_at, clock_timestamp()) ELSE r.started_at END,
        attempt_started_at = greatest(clock_timestamp(), r.due_at)
    FROM numbered n
    WHERE r.run_id = n.run_id AND r.job_id = ANY (ARRAY[n.job_id]) AND r.scheduled_for = n.scheduled_for
      AND (NOT n.is_alone OR n.alone = 1)
    RETURNING r.run_id, r.job_id, r.scheduled_for, r.due_at, r.origin, r.term, r.definition_version, r.attempt,
              r.deliveries, r.status, coalesce(r.orphaned, 0) AS orphaned, n.next_attempt_at,
              false AS waits_for_ever, n.is_alone
)
SELECT (SELECT now FROM clock) AS now,
       (SELECT count(*) FROM coming) AS seen,
       (SELECT coalesce(next_attempt_at, due_at) FROM {schema}.runs
        WHERE offered IS NOT NULL AND instance_id IS NULL AND status IN ('pending', 'retrying')
          AND coalesce(next_attempt_at, due_at) > (SELECT now FROM clock)
          AND coalesce(next_attempt_at, due_at) < '9999-12-30'
        ORDER BY coalesce(next_attempt_at, due_at) LIMIT 1) AS next_at,
       t.*
FROM (SELECT) AS one LEFT JOIN taken t ON true
"""

# After an answer that got lost: what lies under this replica's name and is not in its hands is its own to begin.
TAKEN = """
SELECT clock_timestamp() AS now, 0 AS seen, NULL::timestamptz AS next_at,
       r.run_id, r.job_id, r.scheduled_for, r.due_at, r.origin, r.term, r.definition_version, r.attempt,
       r.deliveries, r.status, coalesce(r.orphaned, 0) AS orphaned, r.next_attempt_at, false AS waits_for_ever,
       false AS is_alone
FROM {schema}.runs r
WHERE r.instance_id = :instance_id AND r.status = 'running' AND r.offered IS NOT NULL
  AND NOT r.run_id = ANY(CAST(:mine AS uuid[]))
ORDER BY r.run_id
"""

UNFINISHED_AMONG = """
SELECT r.run_id
FROM unnest(CAST(:run_ids AS uuid[]), CAST(:job_ids AS text[]), CAST(:scheduled_fors AS timestamptz[]))
     AS h (run_id, job_id, scheduled_for)
JOIN {schema}.runs r
  ON r.run_id = h.run_id AND r.job_id = ANY (ARRAY[h.job_id]) AND r.scheduled_for = h.scheduled_for
WHERE r.status IN {unfinished}
"""


def offer_parameters(leadership: Leadership, offered: Sequence[tuple[Run, str]], schema: str) -> dict[str, Any]:
    """Parameters of OFFER: each run, and the executor that it is offered to."""
    offered = sorted(offered, key=lambda one: one[0].job_id)
    return {
        "term": leadership.term,
        "nonce": leadership.nonce,
        "instance_id": leadership.instance_id,
        "run_ids": [run.run_id for run, _ in offered],
        "job_ids": [run.job_id for run, _ in offered],
        "scheduled_fors": [run.scheduled_for for run, _ in offered],
        "executors": [executor for _, executor in offered],
        "schema": schema,
    }


def take_parameters(
    instance_id: str,
    executors: Sequence[str],
    *,
    ahead_seconds: float,
    limit: int,
    takes_alone: bool,
    passed_over: Sequence[UUID],
) -> dict[str, Any]:
    """Parameters of TAKE_OFFERED."""
    return {
        "instance_id": instance_id,
        "executors": list(executors),
        "ahead": ahead_seconds,
        "limit": limit,
        "within": limit and limit + LOOKED_AT,
        "takes_alone": takes_alone,
        "passed_over": list(passed_over),
    }


def held_parameters(held: Sequence[HeldRun]) -> dict[str, Any]:
    """Parameters of UNFINISHED_AMONG."""
    return {
        "run_ids": [one.run_id for one in held],
        "job_ids": [one.job_id for one in held],
        "scheduled_fors": [one.scheduled_for for one in held],
    }

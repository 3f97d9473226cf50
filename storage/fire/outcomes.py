"""Outcomes: the start that is durable before a callback, and the statement that records a batch of outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scheduler_core.domain.runs.run import Failure, Outcome, RunStatus
from scheduler_core.storage.postgres.arrays import sparse
from scheduler_core.storage.postgres.row_places import Place

# Asked again after a lost reply it finds its own trace: the same owner, term, attempt and instant.
START = """
UPDATE {schema}.runs
SET status = 'running', reason = NULL, started_at = coalesce(started_at, :started_at),
    attempt_started_at = :attempt_started_at,
    definition_version = coalesce(:definition_version, definition_version)
WHERE run_id = :run_id AND scheduled_for = :scheduled_for AND instance_id = :instance_id AND term = :term
  AND (status IN {waiting}
       OR status = 'running' AND attempt = :attempt AND attempt_started_at = :attempt_started_at)
RETURNING run_id
"""

_TALLIES = """SET run_count = j.run_count + c.ended,
        error_count = j.error_count + c.failed_attempts,
        last_run = greatest(j.last_run, c.last_run),
        last_status = coalesce(c.last_status, j.last_status),
        last_error = coalesce(c.last_error, j.last_error),
        consecutive_failures = CASE WHEN c.any_success THEN 0 ELSE j.consecutive_failures + c.failed_runs END,
        auto_disabled_at = CASE WHEN {disables} THEN {told} ELSE j.auto_disabled_at END,
        due_at = CASE WHEN {disables} THEN NULL ELSE j.due_at END,
        version = CASE WHEN {disables} THEN j.version + 1 ELSE j.version END"""

# Guarded by run, owner and the owner's term of adoption, and not by the current term: a live former leader may still
# tell what truly happened, unless somebody else has taken the run. What comes too late is kept as an attempt that says
# so, and overwrites nothing. A batch that is sent again after a lost reply finds its own traces (same status, attempt
# and end) and changes nothing. Where this statement's snapshot shows a row that could have been updated and was not
# (its twin, whose reply got lost, was at it at the same moment), nothing is concluded: the caller asks again. Where
# somebody asked for a cancel, a run that would wait ends instead; and an owner that had begun what looked as if it
# waited still tells how its attempt ended. That a run is queued is a mere note, written when the batch is: a start that
# is durable before it stays, or a death would find a run that nobody had begun and call it again, at_most_once or not;
# and a note that comes too late says nothing about whose the run is. Each run is found by its key alone: with a bound
# on scheduled_for the planner, which makes this plan once, perhaps while today's partition is empty, may walk the whole
# day for each batch. `= ANY (ARRAY[…])` has rows looked up, and locked, in the order given, as in the claim: runs
# first, then jobs in job_id order, where the claim left them or else by key. Most outcomes are first attempts that
# succeeded under one term: NULL says so.
RECORD = (
    """
WITH told AS (
    SELECT run_id, job_id, scheduled_for, coalesce(term, :term) AS term, coalesce(status, 'succeeded') AS status,
           reason, coalesce(attempt, 1) AS attempt, started_at,
           coalesce(attempt_started_at, started_at) AS attempt_started_at, finished_at, next_attempt_at, outcome,
           error_type, error_message, traceback, definition_version, place
    FROM unnest(CAST(:run_ids AS uuid[]), CAST(:job_ids AS text[]),
                CAST(:scheduled_fors AS timestamptz[]), CAST(:terms AS bigint[]),
                CAST(:statuses AS text[]), CAST(:reasons AS text[]), CAST(:attempts AS integer[]),
                CAST(:started_ats AS timestamptz[]), CAST(:attempt_started_ats AS timestamptz[]),
                CAST(:finished_ats AS timestamptz[]), CAST(:next_attempt_ats AS timestamptz[]),
                CAST(:outcomes AS text[]), CAST(:error_types AS text[]),
                CAST(:error_messages AS text[]), CAST(:tracebacks AS text[]),
                CAST(:definition_versions AS bigint[]), CAST(:places AS tid[]))
         AS t (run_id, job_id, scheduled_for, term, status, reason, attempt, started_at, attempt_started_at,
               finished_at, next_attempt_at, outcome, error_type, error_message, traceback, definition_version, place)
), updated AS (
    UPDATE {schema}.runs r
    SET status = CASE WHEN {honours} THEN 'cancelled' ELSE t.status END,
        reason = CASE WHEN {honours} THEN 'requested' ELSE t.reason END,
        attempt = t.attempt,
        -- Taken ahead of its instant, a run has begun when its outcome says so, and not when it was taken.
        started_at = CASE WHEN r.offered IS NOT NULL AND r.attempt = 0 AND r.deliveries = 0 THEN t.started_at
                          ELSE coalesce(r.started_at, t.started_at) END,
        attempt_started_at = coalesce(t.attempt_started_at, r.attempt_started_at),
        finished_at = CASE WHEN t.status IN {finished} THEN t.finished_at
                           WHEN {honours} THEN clock_timestamp() END,
        next_attempt_at = CASE WHEN NOT {honours} THEN t.next_attempt_at END,
        -- the next attempt at what is offered is whoever's takes it
        instance_id = CASE WHEN t.status = 'pending' OR t.status = 'retrying' AND r.offered IS NOT NULL THEN NULL
                           ELSE r.instance_id END,
        -- what goes back to whoever leads next asks for its place again; what is offered keeps it
        concurrency_key = CASE WHEN t.status = 'pending' AND r.offered IS NULL THEN NULL ELSE r.concurrency_key END,
        -- what was called, where that is not what the run was planned by
        definition_version = coalesce(t.definition_version, r.definition_version),
        missed_count = CASE WHEN t.status = 'missed' THEN 1 ELSE r.missed_count END,
        missed_from = CASE WHEN t.status = 'missed' THEN r.scheduled_for ELSE r.missed_from END,
        error = CASE WHEN t.outcome IS NOT NULL THEN left(concat_ws(': ', t.error_type, t.error_message), 2000)
                     WHEN t.status = 'succeeded' THEN NULL
                     ELSE r.error END
    FROM told t
    WHERE r.run_id = t.run_id AND r.job_id = ANY (ARRAY[t.job_id]) AND r.scheduled_for = t.scheduled_for
      AND r.instance_id = :instance_id AND r.term = t.term AND {is_open}
      AND r.attempt <= t.attempt AND (r.attempt < t.attempt OR t.outcome IS NULL)
    RETURNING r.run_id, r.job_id, r.status, r.started_at, t.outcome, t.error_type, t.error_message, t.finished_at,
              t.place
), remaining AS (
    SELECT * FROM told WHERE (run_id IN (SELECT run_id FROM updated)) IS NOT TRUE
), repeated AS (
    SELECT t.run_id FROM remaining t JOIN {schema}.runs r
      ON r.run_id = t.run_id AND r.job_id = t.job_id AND r.scheduled_for = t.scheduled_for
     AND r.term = t.term AND r.status = t.status AND r.attempt = t.attempt
     AND (r.finished_at IS NOT DISTINCT FROM CASE WHEN t.status IN {finished} THEN t.finished_at END
          OR r.status = 'cancelled' AND r.cancel_requested_at IS NOT NULL)
), refused AS (
    SELECT t.run_id, r.run_id IS NOT NULL AND NOT (
               r.instance_id = :instance_id AND r.term = t.term AND {is_open}
               AND r.attempt <= t.attempt AND (r.attempt < t.attempt OR t.outcome IS NULL)) IS TRUE AS is_late
    FROM remaining t LEFT JOIN {schema}.runs r
      ON r.run_id = t.run_id AND r.job_id = t.job_id AND r.scheduled_for = t.scheduled_for
    WHERE (t.run_id IN (SELECT run_id FROM repeated)) IS NOT TRUE AND t.status <> 'queued'
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
    SELECT job_id, max(place) AS place, max(started_at) AS last_run,
           count(*) FILTER (WHERE status IN ('succeeded', 'failed', 'lost')) AS ended,
           count(*) FILTER (WHERE outcome <> 'cancelled') AS failed_attempts,
           count(*) FILTER (WHERE status IN ('failed', 'lost')) AS failed_runs,
           bool_or(status = 'succeeded') AS any_success,
           (array_agg(status ORDER BY finished_at DESC) FILTER (WHERE status IN {finished}))[1] AS last_status,
           (array_agg(left(concat_ws(': ', error_type, error_message), 2000) ORDER BY finished_at DESC)
                FILTER (WHERE outcome <> 'cancelled'))[1] AS last_error
    FROM updated
    GROUP BY job_id
    ORDER BY job_id
), tallied_in_place AS (
    UPDATE {schema}.jobs j
    {tallies}
    FROM counted c
    WHERE j.ctid = c.place AND (j.job_id = c.job_id) IS TRUE
    RETURNING j.job_id
), tallied_by_key AS (
    UPDATE {schema}.jobs j
    {tallies}
    FROM counted c
    WHERE (c.job_id IN (SELECT job_id FROM tallied_in_place)) IS NOT TRUE AND j.job_id = ANY (ARRAY[c.job_id])
)
SELECT run_id, is_late FROM refused
""".replace("{tallies}", _TALLIES)
    .replace("{honours}", "(t.status IN {waiting} AND r.cancel_requested_at IS NOT NULL)")
    .replace(
        "{is_open}",
        "(r.status IN {waiting} OR r.status = 'running' AND t.status <> 'queued' "
        "OR r.status = 'cancelled' AND t.status = 'cancelled' AND r.cancel_requested_at IS NOT NULL "
        "AND r.attempt < t.attempt)",
    )
    # The trigger that logs the disabling learns from these who did it.
    .replace(
        "{told}",
        "CASE WHEN set_config('scheduler.source', 'scheduler', true) = 'scheduler' "
        "AND set_config('scheduler.actor', :instance_id, true) = :instance_id THEN clock_timestamp() END",
    )
    .replace(
        "{disables}",
        "NOT c.any_success AND c.failed_runs > 0 AND j.auto_disabled_at IS NULL "
        "AND j.consecutive_failures + c.failed_runs >= j.disable_after",
    )
)


def start_parameters(running: Outcome, instance_id: str) -> dict[str, Any]:
    """Parameters of START, from an outcome that says `running`."""
    run = running.run
    return {
        "run_id": run.run_id,
        "scheduled_for": run.scheduled_for,
        "instance_id": instance_id,
        "term": run.term,
        "attempt": running.attempt,
        "started_at": running.started_at,
        "attempt_started_at": running.attempt_started_at,
        "definition_version": running.definition_version,
    }


def record_parameters(outcomes: Sequence[Outcome], places: Sequence[Place | None] = ()) -> dict[str, Any]:
    """A batch as the parallel arrays that RECORD unnests, without what goes without saying.

    Parameters: places, where the row of each outcome's job lies, as far as is known.
    """
    runs = [o.run for o in outcomes]
    failures = [o.failure for o in outcomes]
    term = runs[0].term if runs else None
    return {
        "term": term,
        "run_ids": [run.run_id for run in runs],
        "job_ids": [run.job_id for run in runs],
        "scheduled_fors": [run.scheduled_for for run in runs],
        "terms": sparse(None if run.term == term else run.term for run in runs),
        "statuses": sparse(None if o.status is RunStatus.SUCCEEDED else o.status.value for o in outcomes),
        "reasons": sparse(o.reason for o in outcomes),
        "attempts": sparse(None if o.attempt == 1 else o.attempt for o in outcomes),
        "started_ats": sparse(o.started_at for o in outcomes),
        "attempt_started_ats": sparse(
            None if o.attempt_started_at == o.started_at else o.attempt_started_at for o in outcomes
        ),
        "finished_ats": sparse(o.finished_at for o in outcomes),
        "next_attempt_ats": sparse(o.next_attempt_at for o in outcomes),
        "definition_versions": sparse(o.definition_version for o in outcomes),
        "places": sparse(places),
        **_failure_parameters(failures),
    }


def _failure_parameters(failures: Sequence[Failure | None]) -> dict[str, list[Any]]:
    if failures.count(None) == len(failures):
        return {"outcomes": [], "error_types": [], "error_messages": [], "tracebacks": []}
    return {
        "outcomes": [f and f.outcome for f in failures],
        "error_types": [f and _storable(f.error_type) for f in failures],
        "error_messages": [f and _storable(f.error_message) for f in failures],
        "tracebacks": [f and _storable(f.traceback) for f in failures],
    }


def _storable(text: str, limit: int = 20_000) -> str:
    """What a callback raised, in a form that Postgres takes: no NUL, no lone surrogate, of bounded length."""
    return text[:limit].replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")

"""Claiming: what is due, and the statement that moves cursors and inserts runs, or does neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from scheduler_core.domain.planning import Plan
from scheduler_core.domain.run import Origin, Run
from scheduler_core.ports import Leadership
from storage.arrays import sparse
from storage.calendars import REVISION
from storage.jobs import count_of
from storage.keys import new_run_id

# The clock is read once, in a sub-select, so that the index on due_at serves the comparison. Work and answer
# grow with what is due, not with what is stored. Claimed within `ahead` is all but at_most_once, which has an index
# of its own for being looked for there. Edited by hand, an instant may be what Python does not have (infinity, BC):
# next_run comes as NULL then, and the next due_at is none that far away. A due_at means nothing without a next_run, or
# where somebody has disabled the job by hand.
DUE = """
WITH clock AS MATERIALIZED (
    SELECT now, now + make_interval(secs => :ahead) AS horizon FROM (SELECT clock_timestamp() AS now) AS read
), due AS (
    SELECT job_id, version,
           CASE WHEN next_run BETWEEN '0001-01-03' AND '9999-12-30' THEN next_run END AS next_run
    FROM {schema}.jobs
    WHERE due_at <= (SELECT horizon FROM clock) AND next_run IS NOT NULL AND enabled AND auto_disabled_at IS NULL
      AND (delivery = 'at_least_once' OR due_at <= (SELECT now FROM clock))
      AND NOT job_id = ANY(CAST(:excluding AS text[]))
    ORDER BY due_at LIMIT :limit
), listed AS (
    SELECT array_agg(job_id) AS job_ids, array_agg(version) AS versions, array_agg(next_run) AS cursors FROM due
)
SELECT (SELECT now FROM clock) AS now,
       least((SELECT due_at FROM {schema}.jobs
              WHERE due_at > (SELECT horizon FROM clock) AND due_at < '9999-12-30'
                AND NOT job_id = ANY(CAST(:excluding AS text[]))
              ORDER BY due_at LIMIT 1),
             (SELECT due_at FROM {schema}.jobs
              WHERE due_at > (SELECT now FROM clock) AND due_at < '9999-12-30' AND delivery = 'at_most_once'
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


def runs_of(plan: Plan, leadership: Leadership) -> list[Run]:
    """The plan's fires as the runs that a claim inserts."""
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


def claim_parameters(
    leadership: Leadership, plans: Sequence[Plan], runs: Mapping[UUID, Run], uncallable: bool
) -> dict[str, Any]:
    """Parameters of CLAIM and CLAIMED: plans and runs as parallel arrays."""
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
        **{name: sparse(column) for name, column in zip(names, columns, strict=True)},
    }

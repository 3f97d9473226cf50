"""Claiming: what is due, and the statement that moves cursors and inserts runs, or does neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scheduler_core.domain.planning.planning import Missed, Plan
from scheduler_core.domain.runs.run import Origin, Run
from scheduler_core.ports.election import Leadership
from scheduler_core.ports.runs import NOTHING_OFFERED, Offers
from scheduler_core.storage.jobs.calendars import REVISION
from scheduler_core.storage.jobs.definitions import count_of
from scheduler_core.storage.postgres.arrays import sparse
from scheduler_core.storage.postgres.keys import OFFER_CHANNEL, new_run_id
from scheduler_core.storage.postgres.row_places import Place

# The clock is read once, in a sub-select, so that the index on due_at serves the comparison. Work and answer
# grow with what is due, not with what is stored; and, from `since` on, not with the dead entries that somebody's open
# transaction keeps below it. Claimed within `ahead` is all but at_most_once, which has an index of its own for being
# looked for there. Edited by hand, an instant may be what Python does not have (infinity, BC): next_run comes as NULL
# then, and the next due_at is none that far away. A due_at means nothing without a next_run, or where somebody has
# disabled the job by hand.
DUE = """
WITH clock AS MATERIALIZED (
    SELECT now, now + make_interval(secs => :ahead) AS horizon FROM (SELECT clock_timestamp() AS now) AS read
), due AS (
    SELECT job_id, version, ctid AS place,
           CASE WHEN next_run BETWEEN '0001-01-03' AND '9999-12-30' THEN next_run END AS next_run, due_at
    FROM {schema}.jobs
    WHERE due_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
      AND due_at <= (SELECT horizon FROM clock) AND next_run IS NOT NULL AND enabled AND auto_disabled_at IS NULL
      AND (delivery = 'at_least_once' OR due_at <= (SELECT now FROM clock))
      AND NOT job_id = ANY(CAST(:excluding AS text[]))
    ORDER BY due_at LIMIT :limit
), listed AS (
    SELECT array_agg(job_id) AS job_ids, array_agg(version) AS versions, array_agg(next_run) AS cursors,
           array_agg(place) AS places,
           CASE WHEN min(due_at) IS NOT NULL THEN greatest(min(due_at), '0001-01-03') END AS earliest_due_at
    FROM due
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
       job_ids, versions, cursors, places, earliest_due_at
FROM listed
""".replace("{calendars}", REVISION.strip())

_MOVES = """next_run = p.next_run, due_at = p.due_at,
        finished_at = CASE WHEN p.next_run IS NULL THEN clock_timestamp() END"""
_AS_PLANNED = "j.next_run = p.cursor AND j.version = p.version AND EXISTS (SELECT FROM fence)"
_MOVED = "j.job_id, j.name, j.version, j.ctid AS place, p.cursor, p.run_id, p.starts_at, p.offered"

# Fenced: FOR SHARE holds the leader's row until commit, so no successor can raise the term in between, and a
# claim that waited behind one re-reads the row and finds its own term gone. (FOR KEY SHARE would not conflict
# with the successor's update: a zombie could commit after its term.) Cursor and runs move together or not at all.
# Plans come in job_id order and their rows are found, and so locked, in it: where the look saw them, and else by key.
# The key leads past every version of the row that an open transaction keeps; a place that is wrong finds nothing, and
# one that somebody has just moved the row away from may find nothing either. `IS TRUE` is what no index serves, and
# `= ANY (ARRAY[…])` what no hash and no merge can join by: so whatever the planner believes, it looks them up one by
# one. A plan mostly fires the occurrence that its cursor stands at, and says no more of it than the run's id; what else
# it fires or counts comes as rows of its own. The answer is mostly "all of it", and says no more than that, and where
# the rows lie now.
CLAIM = (
    """
WITH fence AS (
    SELECT term FROM {schema}.leader WHERE term = :term AND nonce = :nonce FOR SHARE
), planned AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:job_ids AS text[]), CAST(:cursors AS timestamptz[]), CAST(:versions AS bigint[]),
                         CAST(:next_runs AS timestamptz[]), CAST(:next_due_ats AS timestamptz[]),
                         CAST(:run_ids AS uuid[]), CAST(:starts AS timestamptz[]), CAST(:offers AS text[]),
                         CAST(:places AS tid[]))
         AS p (job_id, cursor, version, next_run, due_at, run_id, starts_at, offered, place)
), moved_in_place AS (
    UPDATE {schema}.jobs j SET {moves} FROM planned p
    WHERE j.ctid = p.place AND (j.job_id = p.job_id) IS TRUE AND {as_planned}
    RETURNING {moved}
), moved_by_key AS (
    UPDATE {schema}.jobs j SET {moves} FROM planned p
    WHERE (p.job_id IN (SELECT job_id FROM moved_in_place)) IS NOT TRUE
      AND j.job_id = ANY (ARRAY[p.job_id]) AND {as_planned}
    RETURNING {moved}
), moved AS (
    SELECT * FROM moved_in_place UNION ALL SELECT * FROM moved_by_key
), fired AS (
    INSERT INTO {schema}.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, reason, term,
                               instance_id, offered, definition_version, missed_count, missed_from, finished_at)
    SELECT run_id, job_id, name, cursor, coalesce(starts_at, cursor), 'schedule', 'pending', :reason, :term,
           CASE WHEN offered IS NULL THEN :owner END, offered, version, NULL, NULL, NULL
    FROM moved WHERE run_id IS NOT NULL
    UNION ALL
    SELECT f.run_id, f.job_id, f.job_name, f.scheduled_for, f.due_at, 'schedule', f.status, f.reason, :term,
           f.owner, f.offered, f.version, f.missed_count, f.missed_from,
           CASE WHEN f.status IN ('missed', 'skipped') THEN clock_timestamp() END
    FROM unnest(CAST(:more_run_ids AS uuid[]), CAST(:more_job_ids AS text[]), CAST(:more_job_names AS text[]),
                CAST(:more_versions AS bigint[]), CAST(:more_scheduled_fors AS timestamptz[]),
                CAST(:more_due_ats AS timestamptz[]), CAST(:more_statuses AS text[]), CAST(:more_reasons AS text[]),
                CAST(:more_owners AS text[]), CAST(:more_offers AS text[]), CAST(:missed_counts AS bigint[]),
                CAST(:missed_froms AS timestamptz[]))
         AS f (run_id, job_id, job_name, version, scheduled_for, due_at, status, reason, owner, offered, missed_count,
               missed_from)
    WHERE (f.job_id IN (SELECT job_id FROM moved)) IS TRUE
    -- An occurrence that has its row already fires no second time. A count must not get lost with it.
    ON CONFLICT (job_id, scheduled_for) DO UPDATE
    SET missed_count = excluded.missed_count, missed_from = excluded.missed_from
    WHERE excluded.missed_count IS NOT NULL AND {schema}.runs.missed_count IS NULL
    RETURNING run_id
)
SELECT (SELECT term FROM fence) AS term,
       CASE WHEN (SELECT count(*) FROM moved) < :plans THEN ARRAY(SELECT job_id FROM moved) END AS moved,
       CASE WHEN (SELECT count(*) FROM fired) < :rows THEN ARRAY(SELECT run_id FROM fired) END AS fired,
       CASE WHEN (SELECT count(*) FROM moved_in_place) = :plans
            THEN ARRAY(SELECT place FROM moved_in_place) END AS places,
       -- Whoever executes looks at once. Only a hint, and only where something was offered: each NOTIFY waits for the
       -- others that commit.
       CASE WHEN :offered > 0 AND EXISTS (SELECT FROM fired) THEN pg_notify('{channel}', :schema) END AS noticed
""".replace("{moves}", _MOVES)
    .replace("{as_planned}", _AS_PLANNED)
    .replace("{moved}", _MOVED)
    .replace("{channel}", OFFER_CHANNEL)
)

# After a lost reply: what the claim of exactly these run ids has won.
CLAIMED = """
SELECT CAST(:term AS bigint) AS term,
       ARRAY(SELECT j.job_id FROM {schema}.jobs j
             JOIN unnest(CAST(:job_ids AS text[]), CAST(:next_runs AS timestamptz[])) AS p (job_id, next_run)
               ON j.job_id = p.job_id AND j.next_run IS NOT DISTINCT FROM p.next_run) AS moved,
       ARRAY(SELECT r.run_id FROM (
                 SELECT * FROM unnest(CAST(:job_ids AS text[]), CAST(:cursors AS timestamptz[]),
                                      CAST(:run_ids AS uuid[])) AS p (job_id, scheduled_for, run_id)
                 UNION ALL
                 SELECT * FROM unnest(CAST(:more_job_ids AS text[]), CAST(:more_scheduled_fors AS timestamptz[]),
                                      CAST(:more_run_ids AS uuid[])) AS f (job_id, scheduled_for, run_id)
             ) AS claimed
             JOIN {schema}.runs r USING (job_id, scheduled_for, run_id)
             -- What was offered may be whoever's by now, and have ended: it was claimed here all the same.
             WHERE r.term = :term
               AND (r.instance_id = :instance_id AND r.status = 'pending' OR r.offered IS NOT NULL)) AS fired,
       NULL AS places
"""


def runs_of(plan: Plan, leadership: Leadership) -> list[Run]:
    """The plan's fires as the runs that a claim inserts."""
    job_id, version = plan.job.definition.job_id, plan.job.version
    return [
        Run(
            new_run_id(fire.scheduled_for),
            job_id,
            fire.scheduled_for,
            fire.due_at,
            Origin.SCHEDULE,
            leadership.term,
            version,
        )
        for fire in plan.fires
    ]


def claim_parameters(
    leadership: Leadership,
    plans: Sequence[Plan],
    runs: Sequence[Sequence[Run]],
    uncallable: bool,
    places: Sequence[Place | None] = (),
    *,
    offers: Offers = NOTHING_OFFERED,
    schema: str = "",
) -> dict[str, Any]:
    """Parameters of CLAIM and CLAIMED: plans, the runs of each, and where its job's row lies, as parallel arrays."""
    reason, owner = ("no_callback", None) if uncallable else (None, leadership.instance_id)
    firsts: list[Run | None] = []
    first_offers: list[str | None] = []
    more: list[tuple[Any, ...]] = []
    for plan, fires in zip(plans, runs, strict=True):
        starts_at_cursor = bool(fires) and fires[0].scheduled_for == plan.job.next_run
        offered = offers.get(plan.job.job_id, 0) if offers else 0
        firsts.append(fires[0] if starts_at_cursor else None)
        first_offers.append(plan.job.definition.executor if starts_at_cursor and offered else None)
        if len(fires) > starts_at_cursor:
            more += [
                _fired(plan, run, reason, owner, is_offered=number < offered)
                for number, run in enumerate(fires)
                if number or not starts_at_cursor
            ]
        if plan.missed:
            more += [_missed(plan, missed) for missed in plan.missed]
    columns = list(zip(*more, strict=True)) if more else [()] * len(_MORE)
    return {
        "term": leadership.term,
        "nonce": leadership.nonce,
        "reason": reason,
        "owner": owner,
        "plans": len(plans),
        "rows": len(firsts) - firsts.count(None) + len(more),
        "job_ids": [plan.job.definition.job_id for plan in plans],
        "cursors": [plan.job.next_run for plan in plans],
        "versions": [plan.job.version for plan in plans],
        "next_runs": sparse(plan.next_run for plan in plans),
        "next_due_ats": sparse(plan.next_due_at for plan in plans),
        "run_ids": sparse(run and run.run_id for run in firsts),
        "offers": sparse(first_offers) if offers else [],
        "offered": len(offers),
        "schema": schema,
        "places": sparse(places),
        "starts": sparse(run.due_at if run and run.due_at != run.scheduled_for else None for run in firsts),
        **{name: sparse(column) for name, column in zip(_MORE, columns, strict=True)},
    }


_MORE = (
    "more_run_ids",
    "more_job_ids",
    "more_job_names",
    "more_versions",
    "more_scheduled_fors",
    "more_due_ats",
    "more_statuses",
    "more_reasons",
    "more_owners",
    "more_offers",
    "missed_counts",
    "missed_froms",
)


def _fired(plan: Plan, run: Run, reason: str | None, owner: str | None, *, is_offered: bool) -> tuple[Any, ...]:
    name = plan.job.definition.name
    return (
        run.run_id,
        run.job_id,
        name,
        run.definition_version,
        run.scheduled_for,
        run.due_at,
        "pending",
        reason,
        None if is_offered else owner,
        plan.job.definition.executor if is_offered else None,
        None,
        None,
    )


def _missed(plan: Plan, missed: Missed) -> tuple[Any, ...]:
    job_id, name, version = plan.job.job_id, plan.job.definition.name, plan.job.version
    status, count = missed.status.value, count_of(missed)
    return (
        new_run_id(missed.last),
        job_id,
        name,
        version,
        missed.last,
        missed.last,
        status,
        missed.reason,
        None,
        None,
        *count,
    )

"""The statements that make a history up; `bench.generated` says of what."""

from __future__ import annotations

LEAD = """
WITH given AS (
    INSERT INTO {schema}.leader_terms (term, instance_id, host, acquired_at, ended_at, end_reason, leaderless_for)
    SELECT * FROM unnest(CAST(:terms AS bigint[]), CAST(:instance_ids AS text[]), CAST(:hosts AS text[]),
                         CAST(:acquired_ats AS timestamptz[]), CAST(:ended_ats AS timestamptz[]),
                         CAST(:end_reasons AS text[]), CAST(:gaps AS interval[]))
    RETURNING term
)
UPDATE {schema}.leader SET term = (SELECT max(term) FROM given)
"""

# The log of changes is append-only, and its triggers know no time but now: for a history that is made up, its owner
# sets the guard aside.
DOCUMENTS = "SELECT job_id, CAST(new AS text) AS document FROM {schema}.job_changes"
REWRITE_LOG = (
    "ALTER TABLE {schema}.job_changes DISABLE TRIGGER append_only",
    "UPDATE {schema}.job_changes SET (changed_at, effective_at) = (SELECT b, b FROM CAST(:begin AS timestamptz) AS b)",
    """
    INSERT INTO {schema}.job_changes (changed_at, effective_at, job_id, version, action, actor, source, old, new)
    SELECT at, at, job_id, version, action, actor, source, CAST(old AS jsonb), CAST(new AS jsonb)
    FROM unnest(CAST(:ats AS timestamptz[]), CAST(:job_ids AS text[]), CAST(:versions AS bigint[]),
                CAST(:actions AS text[]), CAST(:actors AS text[]), CAST(:sources AS text[]), CAST(:olds AS text[]),
                CAST(:news AS text[])) AS c (at, job_id, version, action, actor, source, old, new)
    """,
    "ALTER TABLE {schema}.job_changes ENABLE ALWAYS TRIGGER append_only",
    """
    UPDATE {schema}.jobs j SET version = (SELECT max(c.version) FROM {schema}.job_changes c WHERE c.job_id = j.job_id)
    WHERE j.job_id = ANY(CAST(:job_ids AS text[]))
    """,
)

# The jobs of a statement are a part of all, so that no statement lasts long. Slots lie on whole seconds, each its own;
# runs that an operator triggered lie between them.
FILL = """
WITH job AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:numbers AS integer[]), CAST(:job_ids AS text[]), CAST(:names AS text[]),
                         CAST(:per_days AS integer[]), CAST(:run_seconds AS double precision[]),
                         CAST(:changed_ats AS timestamptz[]))
             AS j (number, job_id, name, per_day, run_seconds, changed_at)
), term AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:terms AS bigint[]), CAST(:instance_ids AS text[]), CAST(:begins AS timestamptz[]),
                         CAST(:acquired_ats AS timestamptz[]), CAST(:ended_ats AS timestamptz[]))
             AS t (term, instance_id, begins_at, acquired_at, ended_at)
), slot AS (
    SELECT j.*, k, ((:day_number * 4096 + j.number)::bigint << 17) + k AS dice,
           CAST(:day AS timestamptz)
               + make_interval(secs => floor((k + (j.number % 89) / 89.0) * 86400.0 / j.per_day)) AS at
    FROM job j, generate_series(0, j.per_day - 1) AS k
), drawn AS (
    SELECT s.*, {0} AS origin_dice, {1} AS status_dice, {2} AS attempt_dice, {3} AS reason_dice,
           -ln(1 - {4}) AS late, -ln(1 - {5}) AS long, {6} AS fraction,
           -- for two hours, now and then, nothing goes right
           hashint8extended(dice >> 17, 7) % 100 = 0
               AND extract(hour FROM at AT TIME ZONE 'UTC')::integer / 2 = abs(hashint8extended(dice >> 17, 8) % 12)
               AS in_trouble
    FROM slot s
), told AS (
    SELECT d.*, t.term, t.instance_id, t.begins_at, t.acquired_at,
           d.at < t.acquired_at AND t.acquired_at - t.begins_at > interval '10 s' AS in_outage,
           CASE WHEN origin_dice < 0.985 THEN 'schedule' WHEN origin_dice < 0.992 THEN 'trigger'
                WHEN origin_dice < 0.996 OR k = 0 THEN 'backfill' ELSE 'rerun' END AS origin
    FROM drawn d JOIN term t ON d.at >= t.begins_at AND d.at < t.ended_at
), ended AS (
    SELECT t.*,
           CASE WHEN origin = 'schedule' AND status_dice < 0.012 THEN 'skipped'
                WHEN origin = 'schedule' AND status_dice < 0.016 THEN 'missed'
                WHEN in_trouble OR status_dice > 0.98 THEN 'failed'
                WHEN number % 10 = 3 AND status_dice > 0.979 THEN 'lost'
                WHEN status_dice > 0.977 THEN 'cancelled'
                ELSE 'succeeded' END AS status,
           at + CASE WHEN origin IN ('trigger', 'rerun') THEN make_interval(secs => 0.1 + 0.8 * fraction)
                     ELSE interval '0' END AS scheduled_for,
           make_interval(secs => 0.0004 * late
               + CASE WHEN origin = 'backfill' THEN 3600 * (1 + 20 * fraction)
                      WHEN at < acquired_at THEN extract(epoch FROM acquired_at - at)::float8 + 0.005 * late
                      WHEN fraction > 0.995 THEN 2 * long ELSE 0 END) AS lateness,
           make_interval(secs => run_seconds * (0.2 + long)) AS run_time
    FROM told t WHERE NOT in_outage
), counted AS (
    SELECT e.*, status NOT IN ('skipped', 'missed') AS began,
           CASE status WHEN 'failed' THEN 4 WHEN 'cancelled' THEN 1
                WHEN 'succeeded' THEN CASE WHEN attempt_dice < 0.93 THEN 1 WHEN attempt_dice < 0.98 THEN 2
                                           WHEN attempt_dice < 0.995 THEN 3 ELSE 4 END
                ELSE 0 END AS attempt,
           CASE WHEN status = 'lost' OR number % 10 <> 3 AND status = 'succeeded' AND reason_dice > 0.997 THEN 1
                ELSE 0 END AS deliveries,
           md5(dice::text)::uuid AS run_id,
           (ARRAY['ConnectionError', 'TimeoutError', 'ValueError', 'KeyError', 'OperationalError'])
               [1 + (number + (:day_number / 7) + floor(reason_dice * 2)::integer) % 5] AS error_type
    FROM ended e
), timed AS (
    -- an owner that died is noticed after a while, and the attempt begun again
    SELECT c.*, scheduled_for + lateness AS began_at, run_time + interval '5 s' AS each_time,
           scheduled_for + lateness + greatest(attempt - 1, 0) * (run_time + interval '5 s') AS first_try_at,
           scheduled_for + lateness + greatest(attempt - 1, 0) * (run_time + interval '5 s')
               + CASE WHEN status = 'succeeded' THEN deliveries * interval '4 s' ELSE interval '0' END AS last_try_at
    FROM counted c
), failures AS (
    INSERT INTO {schema}.attempts (run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome,
                                   error_type, error_message, traceback, term, instance_id)
    SELECT run_id, job_id, scheduled_for, n, began_at + (n - 1) * each_time, began_at + (n - 1) * each_time + run_time,
           CASE WHEN status = 'cancelled' THEN 'cancelled'
                WHEN error_type = 'TimeoutError' THEN 'timeout' ELSE 'failed' END,
           CASE WHEN status = 'cancelled' THEN 'CancelledError' ELSE error_type END,
           'the other side said no (' || n || ')', 'Traceback: …', term, instance_id
    FROM timed, generate_series(1, CASE WHEN status = 'succeeded' THEN attempt - 1 ELSE attempt END) AS n
    WHERE began AND attempt > 0
    UNION ALL
    SELECT run_id, job_id, scheduled_for, attempt + CASE WHEN status = 'lost' THEN 1 ELSE 0 END, first_try_at,
           first_try_at + interval '3 s', 'lost', 'OwnerDied',
           'the replica that ran this attempt died', NULL, greatest(term - 1, 1), 'gone-' || instance_id
    FROM timed WHERE began AND deliveries > 0
)
INSERT INTO {schema}.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, reason, attempt, deliveries,
                           started_at, attempt_started_at, finished_at, term, instance_id, definition_version, error,
                           missed_count, missed_from, rerun_of, cancel_requested_at, cancel_requested_by, created_at)
SELECT run_id, job_id, name, scheduled_for, scheduled_for, origin, status,
       CASE status WHEN 'skipped'
                        THEN (ARRAY['overlap', 'overlap', 'locked', 'calendar'])[1 + floor(reason_dice * 4)::integer]
                   WHEN 'missed' THEN (ARRAY['misfire', 'paused'])[1 + floor(reason_dice * 2)::integer]
                   WHEN 'lost' THEN 'owner_died' WHEN 'cancelled' THEN 'requested' END,
       attempt, deliveries,
       CASE WHEN began THEN began_at END, CASE WHEN began THEN last_try_at END,
       CASE WHEN NOT began THEN scheduled_for + interval '1 ms'
            WHEN status = 'lost' THEN first_try_at + interval '3 s' ELSE last_try_at + run_time END,
       term, CASE WHEN began AND status <> 'lost' THEN instance_id END,
       CASE WHEN scheduled_for >= changed_at THEN 2 ELSE 1 END,
       CASE status WHEN 'failed' THEN error_type || ': the other side said no (4)'
                   WHEN 'lost' THEN 'OwnerDied: the replica that ran this attempt died'
                   WHEN 'cancelled' THEN 'CancelledError: the other side said no (1)' END,
       CASE WHEN status = 'missed' OR status = 'skipped' AND reason_dice >= 0.75 THEN 1 END,
       CASE WHEN status = 'missed' OR status = 'skipped' AND reason_dice >= 0.75 THEN scheduled_for END,
       CASE WHEN origin = 'rerun' THEN md5((dice - 1)::text)::uuid END,
       CASE WHEN status = 'cancelled' THEN began_at END,
       CASE WHEN status = 'cancelled' THEN 'operator-' || number % 4 END,
       scheduled_for - interval '50 ms'
FROM timed
UNION ALL
-- What was due while nobody led is one row for each job, which counts the others.
SELECT md5(max(dice)::text)::uuid, job_id, min(name), max(at), max(at), 'schedule', 'missed', 'downtime', 0, 0,
       NULL, NULL, min(acquired_at), min(term), NULL,
       CASE WHEN max(at) >= min(changed_at) THEN 2 ELSE 1 END, NULL, count(*), min(at), NULL, NULL, NULL,
       min(acquired_at)
FROM told WHERE in_outage
GROUP BY job_id, term
"""
for _number in range(7):
    # A number from 0 to 1 for each occurrence, the seventh of the occurrence's own.
    FILL = FILL.replace(f"{{{_number}}}", f"(hashint8extended(dice, {100 + _number}) & 1073741823) / 1073741824.0")

"""The statements of `alarms`: what a look reads, and the one that stores what follows from it."""

from __future__ import annotations

from scheduler_core.storage.postgres.clock import READABLE_HOLD

# Where the row is gone (somebody deleted it) a look goes on: it is made again, and terms so far count as told. A look
# that lies in the future was made before the database's clock went back.
WATCH = """
SELECT clock_timestamp() AS now, coalesce(w.version, 0) AS version, w.looked_at, w.looked_by, w.dropped,
       coalesce(w.term, (SELECT max(term) FROM {schema}.leader_terms), 0) AS term,
       coalesce(w.looked_at > clock_timestamp() - make_interval(secs => :fresh)
                AND w.looked_at <= clock_timestamp(), false) AS is_fresh
FROM (VALUES (true)) AS always (only_row) LEFT JOIN {schema}.alarm_watch w USING (only_row)
"""


# By the index on due_at, earliest first: as cheap as the question for what is due. Instants that Python does not have
# are somebody's hand edits.
LATE_JOBS = """
WITH seat AS MATERIALIZED (
    SELECT i.zones
    FROM {schema}.leader l JOIN {schema}.instances i USING (instance_id) WHERE l.nonce IS NOT NULL
)
SELECT job_id, name, due_at AS since,
       CASE WHEN timezone <> ALL (CAST((SELECT zones FROM seat) AS text[])) THEN timezone END AS unknown_zone
FROM {schema}.jobs
WHERE due_at < (SELECT clock_timestamp() - make_interval(secs => :overdue)) AND due_at > '0001-01-03'
  AND next_run IS NOT NULL AND enabled AND auto_disabled_at IS NULL
ORDER BY due_at LIMIT :limit
"""


# Claimed, and nobody began it. What is queued waits for its turn by the overlap policy, and a backfill for its turn by
# the others': neither is overdue. Unfinished runs are few, and the partial index on them finds no others.
LATE_RUNS = """
SELECT DISTINCT ON (job_id) job_id, name, since, reason, run_id
FROM (
    SELECT job_id, job_name AS name, greatest(due_at, next_attempt_at) AS since, reason, run_id
    FROM {schema}.runs r
    WHERE status IN ('pending', 'retrying') AND origin <> 'backfill'
      AND EXISTS (SELECT FROM {schema}.jobs j WHERE j.job_id = r.job_id)
      AND greatest(due_at, next_attempt_at) < (SELECT clock_timestamp() - make_interval(secs => :overdue))
      AND due_at > '0001-01-03'
    LIMIT :limit
) AS waiting
ORDER BY job_id, since
"""


# Noted is every attempt that failed; told is a run that ended with it. One that goes on is noted again with its next
# attempt. Each run is found by its key, however many runs there are.
FAILED = """
WITH noted AS MATERIALIZED (
    SELECT failure_id, job_id, run_id, scheduled_for, attempt, failed_at
    FROM {schema}.failed_attempts ORDER BY failure_id LIMIT :limit
), ended AS (
    SELECT DISTINCT ON (n.run_id) n.failure_id, n.failed_at, n.job_id, n.run_id, r.job_name, r.error
    FROM noted n
    CROSS JOIN LATERAL (
        SELECT r.job_name, coalesce(r.error, r.status) AS error
        FROM {schema}.runs r
        WHERE r.run_id = n.run_id AND r.job_id = n.job_id AND r.scheduled_for = n.scheduled_for
          AND r.status IN ('failed', 'lost') AND r.attempt <= n.attempt
        LIMIT 1
    ) AS r
    ORDER BY n.run_id, n.failure_id DESC
), of_job AS (
    SELECT e.job_id, max(e.job_name) AS name, count(*) AS count,
           (array_agg(e.run_id ORDER BY e.failure_id DESC))[1] AS run_id,
           (array_agg(e.failed_at ORDER BY e.failure_id DESC))[1] AS failed_at,
           (array_agg(e.error ORDER BY e.failure_id DESC))[1] AS error,
           bool_or(j.auto_disabled_at IS NOT NULL) IS TRUE AS is_disabled
    FROM ended e LEFT JOIN {schema}.jobs j USING (job_id)
    GROUP BY e.job_id
)
SELECT of_job.*, (SELECT array_agg(failure_id) FROM noted) AS failure_ids
FROM (VALUES (true)) AS always LEFT JOIN of_job ON true
ORDER BY of_job.job_id
"""


# Each open alarm with what its job is like now. An alarm closes later than it opens (`calm` is shorter than `overdue`),
# or a job about as late as the limit would open and close one with each look. One of a kind that a later version raises
# is that version's.
OPEN = """
SELECT a.alarm_id, a.kind, a.job_id, a.job_name, a.since, a.detail, j.job_id IS NOT NULL AS job_exists,
       (j.consecutive_failures > 0) IS TRUE AS is_failing, (j.auto_disabled_at IS NOT NULL) IS TRUE AS is_disabled,
       (a.kind = 'disabled' AND j.auto_disabled_at > a.since) IS TRUE AS has_begun_anew,
       a.kind = 'overdue' AND (
           (j.due_at < moment.calm AND j.next_run IS NOT NULL AND j.enabled AND j.auto_disabled_at IS NULL) IS TRUE
           OR EXISTS (SELECT FROM {schema}.runs r
                      WHERE r.job_id = a.job_id AND r.status IN ('pending', 'retrying') AND r.origin <> 'backfill'
                        AND greatest(r.due_at, r.next_attempt_at) < moment.calm)) AS is_late
FROM {schema}.alarms a
CROSS JOIN (SELECT clock_timestamp() - make_interval(secs => :calm) AS calm) AS moment
LEFT JOIN {schema}.jobs j USING (job_id)
WHERE a.closed_at IS NULL AND a.kind = ANY(CAST(:kinds AS text[]))
ORDER BY a.alarm_id
LIMIT :limit
"""


# What stops planning, and what did since it was last told: a jump that is over in seconds is told all the same.
HOLDS = f"""
SELECT h.hold_id, h.expected_at, h.database_at, h.wall_at, h.boot, h.boottime, h.error, h.evidence, h.instance_id,
       h.told, h.ended_at IS NULL AS is_open, h.ended_why
FROM {{schema}}.clock_holds h
WHERE (h.ended_at IS NULL OR NOT h.told OR h.hold_id = (SELECT max(hold_id) FROM {{schema}}.clock_holds))
  AND {READABLE_HOLD}
ORDER BY h.hold_id
LIMIT :limit
"""


HOLDS_TOLD = """
UPDATE {schema}.clock_holds SET told = true WHERE hold_id = ANY(CAST(:hold_ids AS bigint[])) AND NOT told
"""


# Terms are committed in their order: they move one row.
TERMS = """
SELECT t.term, t.instance_id, t.host, t.acquired_at, extract(epoch FROM t.leaderless_for)::float8 AS leaderless_seconds,
       former.instance_id AS former_instance_id, former.end_reason AS reason
FROM {schema}.leader_terms t
LEFT JOIN LATERAL (
    SELECT instance_id, end_reason FROM {schema}.leader_terms f WHERE f.term < t.term ORDER BY f.term DESC LIMIT 1
) AS former ON true
WHERE t.term > :term
ORDER BY t.term
LIMIT :limit
"""


# All of it or nothing, and only under the version that the look began with. Nobody else writes to `alarms` but a person
# who closes one; the unique index has the last word about two open ones. Notifications are queued only while somebody
# is there to deliver them, and at most `max_waiting` wait.
STORE = """
WITH watch AS (
    INSERT INTO {schema}.alarm_watch AS w (version, looked_at, looked_by, term, notifies_until)
    SELECT :version + 1, clock_timestamp(), :instance_id, :term,
           CASE WHEN :delivers THEN clock_timestamp() + make_interval(secs => :believed) END
    ON CONFLICT (only_row) DO UPDATE
    SET version = w.version + 1, looked_at = excluded.looked_at, looked_by = excluded.looked_by,
        term = greatest(w.term, excluded.term), notifies_until = greatest(w.notifies_until, excluded.notifies_until)
    WHERE w.version = :version
    RETURNING version, notifies_until > clock_timestamp() AS notifies
), opened AS (
    INSERT INTO {schema}.alarms (kind, job_id, job_name, since, detail, failed_runs, run_id)
    SELECT o.* FROM unnest(CAST(:kinds AS text[]), CAST(:job_ids AS text[]), CAST(:names AS text[]),
                           CAST(:sinces AS timestamptz[]), CAST(:details AS text[]), CAST(:counts AS bigint[]),
                           CAST(:run_ids AS uuid[])) AS o
    WHERE EXISTS (SELECT FROM watch)
    ON CONFLICT DO NOTHING
), renewed AS (
    UPDATE {schema}.alarms a
    SET detail = n.detail, run_id = n.run_id, last_at = clock_timestamp(), failed_runs = a.failed_runs + n.count
    FROM unnest(CAST(:news_kinds AS text[]), CAST(:news_job_ids AS text[]), CAST(:news_details AS text[]),
                CAST(:news_counts AS bigint[]), CAST(:news_run_ids AS uuid[]))
         AS n (kind, job_id, detail, count, run_id)
    WHERE a.job_id = n.job_id AND a.kind = n.kind AND a.closed_at IS NULL AND EXISTS (SELECT FROM watch)
), closed AS (
    UPDATE {schema}.alarms a SET closed_at = clock_timestamp(), closed_why = c.why
    FROM unnest(CAST(:closed_ids AS bigint[]), CAST(:closed_whys AS text[])) AS c (alarm_id, why)
    WHERE a.alarm_id = c.alarm_id AND a.closed_at IS NULL AND EXISTS (SELECT FROM watch)
), looked_at AS (
    DELETE FROM {schema}.failed_attempts
    WHERE failure_id = ANY(CAST(:failure_ids AS bigint[])) AND EXISTS (SELECT FROM watch)
), told AS (
    SELECT n.event, n.body, n.position
    FROM unnest(CAST(:events AS text[]), CAST(:bodies AS text[])) WITH ORDINALITY AS n (event, body, position)
    WHERE (SELECT notifies FROM watch)
      AND n.position <= :max_waiting - (SELECT count(*) FROM {schema}.notifications
                                        WHERE delivered_at IS NULL AND given_up_at IS NULL)
), queued AS (
    INSERT INTO {schema}.notifications (event, body)
    SELECT event, CAST(body AS jsonb) FROM told ORDER BY position
    RETURNING notification_id
)
SELECT (SELECT notifies FROM watch) AS notifies, (SELECT count(*) FROM queued) AS queued, count(*) AS applied FROM watch
"""


DROPPED = """
UPDATE {schema}.alarm_watch SET dropped = dropped + :dropped
"""


LIST = """
SELECT alarm_id, kind, job_id, job_name, since, detail, run_id, failed_runs, opened_at, last_at, closed_at, closed_why
FROM {schema}.alarms
WHERE (closed_at IS NULL OR :closed_too) AND (CAST(:before AS bigint) IS NULL OR alarm_id < :before)
ORDER BY alarm_id DESC
LIMIT :limit
"""


CLOSE = """
UPDATE {schema}.alarms SET closed_at = clock_timestamp(), closed_why = 'closed by ' || :by
WHERE job_id = :job_id AND closed_at IS NULL AND (CAST(:kind AS text) IS NULL OR kind = :kind)
RETURNING alarm_id
"""


FORGET_OLD = """
DELETE FROM {schema}.alarms WHERE alarm_id IN (
    SELECT alarm_id FROM {schema}.alarms WHERE closed_at < clock_timestamp() - make_interval(days => :days)
    ORDER BY closed_at LIMIT 1000)
"""

"""The first schema: jobs, their runs and attempts, and who leads.

Tables are named bare: the connection's `search_path` is the scheduler's schema.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE jobs (
    -- code's columns: a deploy may change them
    job_id               text PRIMARY KEY,
    name                 text NOT NULL,
    schedule_type        text NOT NULL CHECK (schedule_type IN ('interval', 'daily', 'once', 'cron')),
    schedule_value       jsonb,
    timezone             text NOT NULL,
    start_at             timestamptz,
    end_at               timestamptz,
    dst                  text NOT NULL,
    jitter               double precision NOT NULL,
    calendars            text[] NOT NULL,
    callback             text NOT NULL,
    args                 jsonb NOT NULL,
    kwargs               jsonb NOT NULL,
    enabled              boolean NOT NULL,
    misfire              text NOT NULL,
    misfire_grace        double precision NOT NULL,
    catch_up_limit       integer NOT NULL,
    overlap              text NOT NULL,
    delivery             text NOT NULL,
    timeout              double precision,
    max_retries          integer NOT NULL,
    retry_delay          double precision NOT NULL,
    retry_max_delay      double precision NOT NULL,
    disable_after        integer,
    executor             text NOT NULL,
    tags                 text[] NOT NULL,
    use_distributed_lock boolean NOT NULL,
    lock_key             text,
    lock_ttl             double precision NOT NULL,
    -- who defined it last, so that an older replica does not revert a newer definition
    digest               text NOT NULL,
    schedule_digest      text NOT NULL,
    declared_by          text,
    declared_since       timestamptz,
    -- the cursor: the first occurrence that nobody has accounted for
    anchor               timestamptz NOT NULL,
    next_run             timestamptz,
    due_at               timestamptz,
    version              bigint NOT NULL DEFAULT 1,
    -- the operator's columns: a deploy never touches them
    paused_at            timestamptz,
    paused_until         timestamptz,
    paused_by            text,
    pause_note           text,
    auto_disabled_at     timestamptz,
    finished_at          timestamptz,
    -- counters
    last_run             timestamptz,
    run_count            bigint NOT NULL DEFAULT 0,
    error_count          bigint NOT NULL DEFAULT 0,
    consecutive_failures integer NOT NULL DEFAULT 0,
    last_status          text,
    last_error           text,
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
COMMENT ON COLUMN jobs.next_run IS 'the first occurrence that nobody has accounted for';
COMMENT ON COLUMN jobs.due_at IS 'when the leader looks at the cursor next; NULL: never by itself';

CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_due_once ON jobs (due_at) WHERE due_at IS NOT NULL AND delivery = 'at_most_once';

CREATE TABLE runs (
    run_id             uuid NOT NULL,
    job_id             text NOT NULL,
    job_name           text NOT NULL,
    scheduled_for      timestamptz NOT NULL,
    due_at             timestamptz NOT NULL,
    origin             text NOT NULL,
    status             text NOT NULL,
    reason             text,
    attempt            integer NOT NULL DEFAULT 0,
    deliveries         integer NOT NULL DEFAULT 0,
    next_attempt_at    timestamptz,
    started_at         timestamptz,
    attempt_started_at timestamptz,
    finished_at        timestamptz,
    term               bigint,
    instance_id        text,
    definition_version bigint NOT NULL,
    error              text,
    missed_count       bigint,
    missed_from        timestamptz,
    rerun_of           uuid,
    -- what an operator asked for, kept so that whoever owns the run, or inherits it, honours it
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (job_id, scheduled_for)
) PARTITION BY RANGE (scheduled_for);

CREATE INDEX runs_by_id ON runs (run_id);
CREATE INDEX runs_unfinished ON runs (job_id)
    WHERE status IN ('pending', 'queued', 'running', 'retrying');
CREATE INDEX runs_cancelled ON runs (cancel_requested_at) WHERE cancel_requested_at IS NOT NULL;

CREATE TABLE attempts (
    run_id        uuid NOT NULL,
    job_id        text NOT NULL,
    scheduled_for timestamptz NOT NULL,
    attempt       integer NOT NULL,
    started_at    timestamptz,
    finished_at   timestamptz,
    outcome       text NOT NULL,
    error_type    text,
    error_message text,
    traceback     text,
    term          bigint NOT NULL,
    instance_id   text NOT NULL,
    late          boolean NOT NULL DEFAULT false,
    -- one outcome per attempt: a batch that is sent again after a lost reply changes nothing
    UNIQUE (job_id, scheduled_for, attempt, term, outcome)
) PARTITION BY RANGE (scheduled_for);

CREATE INDEX attempts_by_run ON attempts (run_id);

CREATE TABLE calendars (
    name              text PRIMARY KEY,
    -- {"2026-12-25": "Christmas Day"}, days of the time zone of the job that names the calendar
    excluded_dates    jsonb NOT NULL,
    excluded_weekdays text[] NOT NULL,
    -- [["2026-12-24T17:00:00+00:00", "2026-12-27T00:00:00+00:00"]], the first instant excluded and the second not
    excluded_periods  jsonb NOT NULL,
    note              text,
    version           bigint NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by        text
);

CREATE TABLE leader (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    term        bigint NOT NULL,
    nonce       text,
    instance_id text,
    witnessed   boolean NOT NULL DEFAULT false,
    acquired_at timestamptz,
    heir        text
);
COMMENT ON COLUMN leader.nonce IS 'names the leadership witness; NULL: the last leader resigned';
COMMENT ON COLUMN leader.heir IS 'the replica in whose favour the last leader resigned';
INSERT INTO leader (term) VALUES (0);

CREATE TABLE leader_terms (
    term           bigint PRIMARY KEY,
    instance_id    text NOT NULL,
    host           text NOT NULL,
    acquired_at    timestamptz NOT NULL,
    ended_at       timestamptz,
    end_reason     text,
    leaderless_for interval
);

CREATE TABLE instances (
    instance_id   text PRIMARY KEY,
    instance_name text NOT NULL,
    host          text NOT NULL,
    pid           integer NOT NULL,
    version       text NOT NULL,
    eligible      boolean NOT NULL,
    callbacks     text[] NOT NULL DEFAULT '{}',
    started_at    timestamptz NOT NULL,
    last_seen     timestamptz NOT NULL,
    ended_at      timestamptz,
    life_key      bigint
);
COMMENT ON COLUMN instances.life_key IS 'advisory lock that is held while the process lives; NULL: not witnessed';
"""

AWAIT_WITNESS = """
CREATE FUNCTION await_witness(witness_key bigint, wait_ms integer) RETURNS boolean
LANGUAGE plpgsql AS $$
-- True once nobody holds the witness; false when wait_ms is over. The time-out is caught here, so that the
-- server's log stays quiet, and the wait is short, so that no snapshot is pinned for long.
BEGIN
    PERFORM set_config('lock_timeout', wait_ms || 'ms', true);
    PERFORM pg_advisory_xact_lock_shared(witness_key);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$
"""

WITNESS_HELD = """
CREATE FUNCTION witness_held(witness_key bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = ((witness_key >> 32) & 4294967295)::oid
          AND objid = (witness_key & 4294967295)::oid)
$$
"""

VIEWS = """
CREATE SCHEMA {audit};

CREATE VIEW {audit}.runs AS
SELECT run_id, job_id, job_name, scheduled_for, origin, status, reason,
       CASE WHEN started_at IS NULL THEN 0
            WHEN status IN ('running') THEN attempt + 1
            ELSE attempt END AS attempts,
       deliveries, started_at, finished_at,
       finished_at - started_at AS duration,
       started_at - scheduled_for AS lateness,
       term, instance_id, definition_version, error, missed_count, missed_from,
       rerun_of, cancel_requested_at, cancel_requested_by
FROM {schema}.runs;

CREATE VIEW {audit}.attempts AS
SELECT run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome, error_type, error_message,
       term, instance_id, late
FROM {schema}.attempts
UNION ALL
SELECT run_id, job_id, scheduled_for, attempt, attempt_started_at, finished_at, 'succeeded', NULL, NULL,
       term, instance_id, false
FROM {schema}.runs
WHERE status = 'succeeded';

CREATE VIEW {audit}.jobs AS
SELECT job_id, name, schedule_type, schedule_value, timezone,
       enabled AND auto_disabled_at IS NULL AND finished_at IS NULL AS enabled,
       next_run, last_run, run_count, error_count, consecutive_failures, version
FROM {schema}.jobs;

CREATE VIEW {audit}.leadership AS
SELECT term, instance_id, host, acquired_at, ended_at, end_reason, leaderless_for
FROM {schema}.leader_terms;

CREATE VIEW {audit}.daily_summary AS
SELECT (scheduled_for AT TIME ZONE 'UTC')::date AS day, job_id,
       -- a counted row stands for all of its kind; a run that inherited a count, for itself and missed ones
       coalesce(sum(CASE WHEN reason IN ('calendar', 'no_calendar') THEN coalesce(missed_count, 1) ELSE 1 END)
                FILTER (WHERE status <> 'missed'), 0)::bigint AS runs,
       count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       coalesce(sum(CASE WHEN reason IN ('calendar', 'no_calendar') THEN coalesce(missed_count, 1) ELSE 1 END)
                FILTER (WHERE status = 'skipped'), 0)::bigint AS skipped,
       coalesce(sum(CASE WHEN status = 'missed' THEN missed_count
                         WHEN reason IN ('calendar', 'no_calendar') THEN 0
                         ELSE missed_count - 1 END), 0)::bigint AS missed,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY finished_at - started_at) AS p50_duration,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY finished_at - started_at) AS p95_duration,
       -- a backfilled run is late on purpose
       percentile_cont(0.95) WITHIN GROUP (ORDER BY started_at - scheduled_for)
           FILTER (WHERE origin <> 'backfill') AS p95_lateness
FROM {schema}.runs
GROUP BY day, job_id;
"""


def names() -> dict[str, str]:
    schema = op.get_context().opts["scheduler_schema"]
    return {"schema": f'"{schema}"', "audit": f'"{schema}_audit"'}


def run(script: str) -> None:
    """Statement by statement: the driver prepares each, and prepares only one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    run(TABLES)
    op.execute(AWAIT_WITNESS)
    op.execute(WITNESS_HELD)
    run(VIEWS.format(**names()))


def downgrade() -> None:
    op.execute("DROP SCHEMA {audit} CASCADE".format(**names()))
    op.execute("DROP FUNCTION await_witness(bigint, integer)")
    op.execute("DROP FUNCTION witness_held(bigint)")
    op.execute("DROP TABLE instances, leader_terms, leader, calendars, attempts, runs, jobs")

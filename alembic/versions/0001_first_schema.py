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
    job_id               text COLLATE "C" PRIMARY KEY,
    -- What a fire reads and writes comes first: what stands behind a long row of policies is read through all of it.
    -- the cursor: the first occurrence that nobody has accounted for
    version              bigint NOT NULL DEFAULT 1,
    next_run             timestamptz,
    due_at               timestamptz,
    -- counters
    last_run             timestamptz,
    run_count            bigint NOT NULL DEFAULT 0,
    error_count          bigint NOT NULL DEFAULT 0,
    consecutive_failures integer NOT NULL DEFAULT 0,
    last_status          text,
    last_error           text,
    -- the operator's columns: a deploy never touches them
    finished_at          timestamptz,
    auto_disabled_at     timestamptz,
    paused_at            timestamptz,
    paused_until         timestamptz,
    paused_by            text,
    pause_note           text,
    -- code's columns: a deploy may change them
    enabled              boolean NOT NULL,
    delivery             text NOT NULL,
    name                 text NOT NULL,
    schedule_type        text NOT NULL CHECK (schedule_type IN ('interval', 'daily', 'once', 'cron')),
    schedule_value       jsonb,
    anchor               timestamptz NOT NULL,
    timezone             text NOT NULL,
    start_at             timestamptz,
    end_at               timestamptz,
    dst                  text NOT NULL,
    jitter               double precision NOT NULL,
    calendars            text[] NOT NULL,
    callback             text NOT NULL,
    args                 jsonb NOT NULL,
    kwargs               jsonb NOT NULL,
    misfire              text NOT NULL,
    misfire_grace        double precision NOT NULL,
    catch_up_limit       integer NOT NULL,
    overlap              text NOT NULL,
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
    set_aside            text,
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
COMMENT ON COLUMN jobs.set_aside IS 'digest of the definition of code that an operator''s revert replaced';
COMMENT ON COLUMN jobs.next_run IS 'the first occurrence that nobody has accounted for';
COMMENT ON COLUMN jobs.due_at IS 'when the leader looks at the cursor next; NULL: never by itself';

CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_due_once ON jobs (due_at) WHERE due_at IS NOT NULL AND delivery = 'at_most_once';

CREATE TABLE runs (
    run_id             uuid NOT NULL,
    job_id             text COLLATE "C" NOT NULL,
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

-- Run ids grow with time. A summary of each few pages finds one in milliseconds and costs a fire next to nothing; a
-- tree would be written to twice a fire: at the claim, and at the outcome, whose new row version needs its own entries.
CREATE INDEX runs_by_id ON runs USING brin (run_id) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX runs_unfinished ON runs (run_id)
    WHERE status IN ('pending', 'queued', 'running', 'retrying');
CREATE INDEX runs_cancelled ON runs (cancel_requested_at) WHERE cancel_requested_at IS NOT NULL;

CREATE TABLE attempts (
    run_id        uuid NOT NULL,
    job_id        text COLLATE "C" NOT NULL,
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

-- Filled by triggers and by nobody else. The defaults say who: what the statement says of itself with set_config, else
-- the session, which is then somebody with psql.
CREATE TABLE job_changes (
    change_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    effective_at  timestamptz NOT NULL DEFAULT
        coalesce(CAST(nullif(current_setting('scheduler.effective_at', true), '') AS timestamptz), clock_timestamp()),
    job_id        text COLLATE "C" NOT NULL,
    version       bigint NOT NULL,
    action        text NOT NULL CHECK (action IN ('added', 'changed', 'paused', 'resumed', 'disabled', 'enabled',
                                                  'reverted', 'renumbered', 'removed')),
    reverted_to   bigint,
    actor         text NOT NULL DEFAULT coalesce(nullif(current_setting('scheduler.actor', true), ''), session_user),
    source        text NOT NULL DEFAULT coalesce(nullif(current_setting('scheduler.source', true), ''), 'sql')
        CHECK (source IN ('code', 'cli', 'api', 'scheduler', 'sql')),
    database_user text NOT NULL DEFAULT session_user,
    old           jsonb,
    new           jsonb,
    -- each change has a number of its own, also over removal and return: runs.definition_version joins with it
    UNIQUE (job_id, version)
);
COMMENT ON COLUMN job_changes.effective_at IS 'occurrences up to it were accounted for by the definition before';
CREATE INDEX job_changes_at ON job_changes (changed_at);

CREATE TABLE calendar_changes (
    change_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    name          text NOT NULL,
    version       bigint NOT NULL,
    action        text NOT NULL CHECK (action IN ('added', 'changed', 'removed')),
    actor         text NOT NULL DEFAULT coalesce(nullif(current_setting('scheduler.actor', true), ''), session_user),
    source        text NOT NULL DEFAULT coalesce(nullif(current_setting('scheduler.source', true), ''), 'sql')
        CHECK (source IN ('code', 'cli', 'api', 'scheduler', 'sql')),
    database_user text NOT NULL DEFAULT session_user,
    old           jsonb,
    new           jsonb
);
CREATE INDEX calendar_changes_by_name ON calendar_changes (name, change_id);

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

CREATE TABLE table_families (
    schema_name    text NOT NULL,
    family         text NOT NULL,
    partitioned    boolean NOT NULL,
    days_ahead     integer NOT NULL,
    retention_days integer,
    declared_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schema_name, family)
);
COMMENT ON TABLE table_families IS 'the families whose tables somebody creates: missed when they are not there';

CREATE TABLE daily_summaries (
    day          date NOT NULL,
    job_id       text COLLATE "C" NOT NULL,
    runs         bigint NOT NULL,
    succeeded    bigint NOT NULL,
    failed       bigint NOT NULL,
    skipped      bigint NOT NULL,
    missed       bigint NOT NULL,
    p50_duration interval,
    p95_duration interval,
    p95_lateness interval,
    is_final     boolean NOT NULL,
    PRIMARY KEY (day, job_id)
);
COMMENT ON COLUMN daily_summaries.is_final IS 'the rows are dropped; false: they are about to be';
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

# What of a job's row is definition or operator's state: all but cursor, counters and bookkeeping. A column that is
# added to `jobs` later is logged unless it is named here.
JOB_DOCUMENT = """
CREATE FUNCTION job_document(job jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT job - ARRAY['next_run', 'due_at', 'version', 'digest', 'schedule_digest', 'declared_by', 'declared_since',
                       'set_aside', 'finished_at', 'last_run', 'run_count', 'error_count', 'consecutive_failures',
                       'last_status', 'last_error', 'created_at']
$$
"""

# The same by name: these, and `auto_disabled_at`.
DEFINED_COLUMNS = """job_id, name, schedule_type, schedule_value, timezone, start_at, end_at, dst, jitter, calendars,
    callback, args, kwargs, enabled, misfire, misfire_grace, catch_up_limit, overlap, delivery, timeout, max_retries,
    retry_delay, retry_max_delay, disable_after, executor, tags, use_distributed_lock, lock_key, lock_ttl, anchor,
    paused_at, paused_until, paused_by, pause_note"""

JOB_DEFINITION = """
CREATE FUNCTION job_definition(document jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT document - ARRAY['paused_at', 'paused_until', 'paused_by', 'pause_note', 'auto_disabled_at']
$$
"""

JOB_ACTION = """
CREATE FUNCTION {schema}.job_action(was jsonb, becomes jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN {schema}.job_definition(was) - 'enabled' <> {schema}.job_definition(becomes) - 'enabled' THEN 'changed'
        WHEN was -> 'enabled' <> becomes -> 'enabled'
        THEN CASE WHEN becomes -> 'enabled' = to_jsonb(true) THEN 'enabled' ELSE 'disabled' END
        WHEN was ->> 'paused_at' IS NOT NULL AND becomes ->> 'paused_at' IS NULL THEN 'resumed'
        WHEN becomes ->> 'paused_at' IS NOT NULL
             AND (was - 'auto_disabled_at') <> (becomes - 'auto_disabled_at') THEN 'paused'
        WHEN was ->> 'auto_disabled_at' IS NOT NULL AND becomes ->> 'auto_disabled_at' IS NULL THEN 'enabled'
        WHEN becomes ->> 'auto_disabled_at' IS NOT NULL
             AND was -> 'auto_disabled_at' <> becomes -> 'auto_disabled_at' THEN 'disabled'
        WHEN was <> becomes THEN 'changed'
        ELSE 'renumbered'
    END
$$
"""

# The functions that log run with the rights of the schema's owner, so that an application's role needs none on the
# log, and with settings of their own, so that a document is the same whoever writes it.
AS_OWNER = """LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp SET timezone TO 'UTC' SET extra_float_digits TO 1"""

# A change that did not raise the version (by hand) gets a number here, so that a claim that was planned before finds
# nothing, as after any other change. Raising it calls this again: that is no change.
LOG_CHANGED_JOB = (
    """
CREATE FUNCTION {schema}.log_changed_job() RETURNS trigger
"""
    + AS_OWNER
    + """ AS $$
DECLARE
    was jsonb := job_document(to_jsonb(OLD));
    becomes jsonb := job_document(to_jsonb(NEW));
    latest bigint;
    number bigint;
    wanted bigint;
BEGIN
    IF OLD.job_id <> NEW.job_id THEN
        INSERT INTO job_changes (job_id, version, action, old)
        SELECT OLD.job_id, 1 + greatest(OLD.version, max(c.version)), 'removed', was
        FROM job_changes c WHERE c.job_id = OLD.job_id;
    END IF;
    SELECT max(c.version) INTO latest FROM job_changes c WHERE c.job_id = NEW.job_id;
    IF was = becomes AND NEW.version = latest THEN
        RETURN NULL;
    END IF;
    number := greatest(NEW.version, coalesce(latest, 0) + 1);
    -- What calls itself a revert is one only if it brings back what it says.
    SELECT c.version INTO wanted FROM job_changes c
    WHERE c.job_id = NEW.job_id
      AND c.version = CAST(nullif(current_setting('scheduler.reverts_to', true), '') AS bigint)
      AND job_definition(c.new) - 'anchor' = job_definition(becomes) - 'anchor';
    INSERT INTO job_changes (job_id, version, action, reverted_to, old, new)
    VALUES (NEW.job_id, number,
            CASE WHEN OLD.job_id <> NEW.job_id THEN 'added'
                 WHEN wanted IS NOT NULL THEN 'reverted'
                 ELSE job_action(was, becomes) END,
            wanted, CASE WHEN OLD.job_id = NEW.job_id THEN was END, becomes);
    IF number <> NEW.version THEN
        UPDATE jobs SET version = number WHERE job_id = NEW.job_id;
    END IF;
    RETURN NULL;
END
$$
"""
)

# Jobs are added by the thousand: their documents are made of the columns, which costs two thirds of taking a whole row
# apart as `job_document` does. The tests hold the two against each other.
LOG_ADDED_JOBS = (
    """
CREATE FUNCTION {schema}.log_added_jobs() RETURNS trigger
"""
    + AS_OWNER
    + """ AS $$
BEGIN
    -- A job that comes back goes on counting where it left off, in the log and in its row.
    WITH numbered AS MATERIALIZED (
        SELECT a.job_id, a.version, greatest(a.version, 1 + before.latest) AS number,
               to_jsonb(d) AS document
        FROM added a
        CROSS JOIN LATERAL (SELECT """
    + DEFINED_COLUMNS
    + """, auto_disabled_at) AS d
        CROSS JOIN LATERAL (
            SELECT coalesce(max(c.version), 0) AS latest FROM job_changes c WHERE c.job_id = a.job_id
        ) AS before
    ), logged AS (
        INSERT INTO job_changes (job_id, version, action, new)
        SELECT job_id, number, 'added', document FROM numbered ORDER BY job_id
    )
    UPDATE jobs j SET version = n.number FROM numbered n WHERE n.number > n.version AND j.job_id = n.job_id;
    RETURN NULL;
END
$$
"""
)

LOG_REMOVED_JOBS = (
    """
CREATE FUNCTION {schema}.log_removed_jobs() RETURNS trigger
"""
    + AS_OWNER
    + """ AS $$
BEGIN
    INSERT INTO job_changes (job_id, version, action, old)
    SELECT r.job_id, 1 + greatest(r.version, before.latest), 'removed', job_document(to_jsonb(r))
    FROM removed r
    CROSS JOIN LATERAL (SELECT max(c.version) AS latest FROM job_changes c WHERE c.job_id = r.job_id) AS before
    ORDER BY r.job_id;
    RETURN NULL;
END
$$
"""
)

# A TRUNCATE says nothing of rows, so they are deleted first.
LOG_TRUNCATED_JOBS = (
    """
CREATE FUNCTION {schema}.log_truncated_jobs() RETURNS trigger
"""
    + AS_OWNER
    + """ AS $$
BEGIN
    DELETE FROM jobs;
    RETURN NULL;
END
$$
"""
)

LOG_CALENDAR = (
    """
CREATE FUNCTION {schema}.log_calendar() RETURNS trigger
"""
    + AS_OWNER
    + """ AS $$
DECLARE
    unlogged text[] := ARRAY['version', 'created_at', 'updated_at', 'updated_by'];
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - unlogged END;
    becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - unlogged END;
BEGIN
    IF was IS DISTINCT FROM becomes THEN
        INSERT INTO calendar_changes (name, version, action, old, new)
        VALUES (CASE WHEN TG_OP = 'DELETE' THEN OLD.name ELSE NEW.name END,
                CASE WHEN TG_OP = 'DELETE' THEN OLD.version + 1 ELSE NEW.version END,
                CASE TG_OP WHEN 'INSERT' THEN 'added' WHEN 'DELETE' THEN 'removed' ELSE 'changed' END,
                was, becomes);
    END IF;
    RETURN NULL;
END
$$
"""
)

REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        MESSAGE = concat(TG_TABLE_SCHEMA, '.', TG_TABLE_NAME, ' is append-only: ', TG_OP, ' is refused'),
        ERRCODE = 'insufficient_privilege', HINT = 'docs/audit-log.md says how its owner removes old entries';
END
$$
"""

# Claims and outcomes write to `jobs` thousands of times a second. No claim sets one of DEFINED_COLUMNS; an outcome
# sets `version` and `auto_disabled_at`, so that its WHEN compares those two and nothing else. All that we change by
# intent raises the version; what is edited by hand need not.
TRIGGERS = """
CREATE TRIGGER job_changed AFTER UPDATE OF version, auto_disabled_at ON jobs FOR EACH ROW
    WHEN (OLD.version <> NEW.version OR OLD.auto_disabled_at IS DISTINCT FROM NEW.auto_disabled_at)
    EXECUTE FUNCTION log_changed_job();
CREATE TRIGGER job_edited AFTER UPDATE OF {columns} ON jobs FOR EACH ROW
    WHEN (OLD.version = NEW.version AND OLD.auto_disabled_at IS NOT DISTINCT FROM NEW.auto_disabled_at
          AND ({old_columns}) IS DISTINCT FROM ({new_columns}))
    EXECUTE FUNCTION log_changed_job();
CREATE TRIGGER jobs_added AFTER INSERT ON jobs REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION log_added_jobs();
CREATE TRIGGER jobs_removed AFTER DELETE ON jobs REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION log_removed_jobs();
CREATE TRIGGER jobs_truncated BEFORE TRUNCATE ON jobs
    FOR EACH STATEMENT EXECUTE FUNCTION log_truncated_jobs();
CREATE TRIGGER calendar_changed AFTER INSERT OR UPDATE OR DELETE ON calendars
    FOR EACH ROW EXECUTE FUNCTION log_calendar();
"""

# Refused twice: by privilege, also to the owner, and by a trigger that fires under every session_replication_role,
# also for a superuser. Who may ALTER the table may still disable the trigger.
APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only;
REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM PUBLIC, CURRENT_USER;
"""

VIEWS = """
CREATE SCHEMA {audit};

CREATE VIEW {audit}.job_changes AS
SELECT changed_at, job_id, version, action, actor, source, old, new, effective_at, reverted_to, database_user, change_id
FROM {schema}.job_changes;

CREATE VIEW {audit}.calendar_changes AS
SELECT changed_at, name, version, action, actor, source, old, new, database_user, change_id
FROM {schema}.calendar_changes;

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

-- What bounds the partitions of tables that are partitioned by the range of one time column; dates and timestamps
-- without a time zone are UTC.
CREATE VIEW {schema}.table_partitions AS
SELECT p.inhparent AS parent, p.inhrelid AS partition, p.inhdetachpending AS is_pending,
       b.bound = 'DEFAULT' AS is_default,
       CASE WHEN b.bound LIKE 'FOR VALUES FROM (MINVALUE)%' THEN '-infinity'::timestamptz
            WHEN b.type = 'timestamptz' THEN substring(b.bound FROM 'FROM \\(''([^'']+)''\\)')::timestamptz
            WHEN b.type IN ('timestamp', 'date')
            THEN substring(b.bound FROM 'FROM \\(''([^'']+)''\\)')::timestamp AT TIME ZONE 'UTC' END AS first,
       CASE WHEN b.bound LIKE '%TO (MAXVALUE)' THEN 'infinity'::timestamptz
            WHEN b.type = 'timestamptz' THEN substring(b.bound FROM 'TO \\(''([^'']+)''\\)')::timestamptz
            WHEN b.type IN ('timestamp', 'date')
            THEN substring(b.bound FROM 'TO \\(''([^'']+)''\\)')::timestamp AT TIME ZONE 'UTC' END AS last
FROM pg_inherits p
JOIN pg_partitioned_table k ON k.partrelid = p.inhparent AND k.partstrat = 'r' AND k.partnatts = 1
JOIN LATERAL (
    SELECT pg_get_expr(c.relpartbound, 0) AS bound, t.typname AS type
    FROM pg_class c, pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.oid = p.inhrelid AND a.attrelid = p.inhparent AND a.attnum = k.partattrs[0]
) AS b ON true;

-- Days that are in `runs` are computed from it, and so are exact however late a row changes. What is stored stands
-- for rows that were dropped; until they are, it counts only where the day can't be read any more. A day that came
-- back after it was dropped is both: counts add up, and percentiles are those of the part with more runs. Each day
-- is computed for itself, so that a question about one day reads one partition.
CREATE VIEW {audit}.daily_summary AS
SELECT day, job_id, sum(runs)::bigint AS runs, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
       sum(skipped)::bigint AS skipped, sum(missed)::bigint AS missed,
       (array_agg(p50_duration ORDER BY runs DESC))[1] AS p50_duration,
       (array_agg(p95_duration ORDER BY runs DESC))[1] AS p95_duration,
       (array_agg(p95_lateness ORDER BY runs DESC))[1] AS p95_lateness
FROM (
    SELECT d.day, c.*
    FROM (
        SELECT DISTINCT n.day::date AS day
        FROM {schema}.table_partitions p,
             generate_series((p.first AT TIME ZONE 'UTC')::date,
                             ((p.last - interval '1 microsecond') AT TIME ZONE 'UTC')::date,
                             interval '1 day') AS n (day)
        WHERE p.parent = '{schema}.runs'::regclass AND isfinite(p.first) AND isfinite(p.last)
    ) AS d, LATERAL (
        SELECT job_id,
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
        WHERE scheduled_for >= d.day::timestamp AT TIME ZONE 'UTC'
          AND scheduled_for < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
        GROUP BY job_id
    ) AS c
    UNION ALL
    SELECT day, job_id, runs, succeeded, failed, skipped, missed, p50_duration, p95_duration, p95_lateness
    FROM {schema}.daily_summaries s
    WHERE is_final OR NOT EXISTS (
        SELECT FROM {schema}.runs r
        WHERE r.scheduled_for >= s.day::timestamp AT TIME ZONE 'UTC'
          AND r.scheduled_for < (s.day + 1)::timestamp AT TIME ZONE 'UTC')
) AS parts
GROUP BY day, job_id;

-- Needs no scheduler to be alive: whoever can read this sees that tables run short. Days left are those after today
-- without a gap; -1: today has none. A family that asks for few days ahead is short once it is a day behind.
CREATE VIEW {audit}.table_families AS
SELECT f.schema_name, f.family, f.partitioned, f.days_ahead, f.retention_days,
       t.tables, t.first_table, t.last_table, d.days_left,
       d.days_left < least(2, greatest(f.days_ahead - 1, 0)) AS is_short
FROM {schema}.table_families f
-- Not to_regclass: it asks for rights on the family's schema, which a reader of this view needs not have.
LEFT JOIN LATERAL (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = f.schema_name AND c.relname = f.family
) AS parent ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS tables, min(c.relname::text) AS first_table, max(c.relname::text) AS last_table
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE CASE WHEN f.partitioned
               THEN EXISTS (SELECT FROM {schema}.table_partitions p
                            WHERE p.parent = parent.oid
                              AND p.partition = c.oid AND NOT p.is_pending)
               ELSE n.nspname = f.schema_name AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                    AND starts_with(c.relname, f.family)
                    AND substr(c.relname, length(f.family) + 1) ~ '^_[0-9]{{4}}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])$'
          END
) AS t
CROSS JOIN LATERAL (
    SELECT coalesce(min(n) FILTER (WHERE NOT there), f.days_ahead + 1) - 1 AS days_left
    FROM generate_series(0, f.days_ahead) AS n,
         LATERAL (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date + n AS day) AS days,
         LATERAL (SELECT CASE WHEN f.partitioned THEN EXISTS (
             SELECT FROM {schema}.table_partitions p
             WHERE p.parent = parent.oid AND NOT p.is_pending
               AND p.first <= day::timestamp AT TIME ZONE 'UTC'
               AND p.last >= (day + 1)::timestamp AT TIME ZONE 'UTC')
         ELSE EXISTS (
             SELECT FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
             WHERE s.nspname = f.schema_name AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               AND c.relname = f.family || to_char(day, '"_"YYYYMMDD'))
         END AS there) AS found
) AS d;
"""


# Roles belong to the cluster, schemas to a database: several schedulers of one name share the role, each grants it its
# own views, and whoever comes first creates it. Where the migrating role may not, an administrator can, before that.
READER = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') THEN
        CREATE ROLE "{reader}" NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE WARNING USING
            MESSAGE = concat('the role {reader} was not created: ', current_user, ' may not create roles'),
            HINT = 'docs/audit-log.md says how an administrator does it';
END
$$
"""

GRANTS = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') THEN
        GRANT USAGE ON SCHEMA {audit} TO "{reader}";
        GRANT SELECT ON ALL TABLES IN SCHEMA {audit} TO "{reader}";
    END IF;
END
$$
"""


def names() -> dict[str, str]:
    schema = op.get_context().opts["scheduler_schema"]
    return {"schema": f'"{schema}"', "audit": f'"{schema}_audit"', "reader": f"{schema}_audit_reader"}


def triggers() -> str:
    columns = [name.strip() for name in DEFINED_COLUMNS.split(",")]
    return TRIGGERS.format(
        columns=", ".join(columns),
        old_columns=", ".join(f"OLD.{name}" for name in columns),
        new_columns=", ".join(f"NEW.{name}" for name in columns),
    )


def run(script: str) -> None:
    """Statement by statement: the driver prepares each, and prepares only one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    run(TABLES)
    op.execute(AWAIT_WITNESS)
    op.execute(WITNESS_HELD)
    op.execute(JOB_DOCUMENT)
    op.execute(JOB_DEFINITION)
    for function in (
        JOB_ACTION,
        LOG_CHANGED_JOB,
        LOG_ADDED_JOBS,
        LOG_REMOVED_JOBS,
        LOG_TRUNCATED_JOBS,
        LOG_CALENDAR,
    ):
        op.execute(function.format(**names()))
    op.execute(REFUSE_CHANGE)
    run(triggers())
    for table in ("job_changes", "calendar_changes"):
        run(APPEND_ONLY.format(table=table))
    run(VIEWS.format(**names()))
    op.execute(READER.format(**names()))
    op.execute(GRANTS.format(**names()))


def downgrade() -> None:
    # The role stays: other databases of the cluster may use it, and an administrator may have put members into it.
    op.execute("DROP SCHEMA {audit} CASCADE".format(**names()))
    op.execute("DROP VIEW table_partitions")
    op.execute(
        "DROP TABLE daily_summaries, table_families, instances, leader_terms, leader, calendars, attempts, runs, jobs, "
        "job_changes, calendar_changes"
    )
    op.execute(
        "DROP FUNCTION await_witness(bigint, integer), witness_held(bigint), job_action(jsonb, jsonb), "
        "job_document(jsonb), job_definition(jsonb), log_changed_job(), log_added_jobs(), log_removed_jobs(), "
        "log_truncated_jobs(), log_calendar(), refuse_change()"
    )

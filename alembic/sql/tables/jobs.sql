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
    concurrency_key      text,
    concurrency_limit    integer,
    rate_limit           text,
    priority             integer NOT NULL DEFAULT 5,
    tags                 text[] NOT NULL,
    use_distributed_lock boolean NOT NULL,
    lock_key             text,
    lock_ttl             double precision NOT NULL,
    -- whose code named it, and who defined it last, so that an older replica does not revert a newer definition
    application          text,
    added_at_run_time    boolean,
    digest               text NOT NULL,
    schedule_digest      text NOT NULL,
    declared_by          text,
    declared_since       timestamptz,
    set_aside            text,
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    -- Three tenths: with a half, or two thirds, of its pages left free, no more of its versions stayed within theirs
    -- (measured, with a transaction open).
    fillfactor = 70,
    -- A fire is two dead versions of its job's row: a twentieth of ten million jobs dies in minutes, and of a hundred
    -- at once. What looks by key walk through is to be gone as soon as it may go, so a vacuum that has begun does not
    -- rest.
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
    -- The days of `runs` have theirs from fit_out_history. Of the other tables the defaults are right: rows that are
    -- written once (attempts, the log of changes, sums), one row in a page of its own (leader, clock, alarm_watch), and
    -- rows whose new versions find room beside the old, as nothing indexed changes (instances; measured).
);

COMMENT ON COLUMN jobs.next_run IS 'the first occurrence that nobody has accounted for';
COMMENT ON COLUMN jobs.due_at IS 'when the leader looks at the cursor next; NULL: never by itself';
COMMENT ON COLUMN jobs.application IS 'whose code named the callback; NULL: no code did';
COMMENT ON COLUMN jobs.added_at_run_time IS 'by code that was running already: no start declares it anew';
COMMENT ON COLUMN jobs.set_aside IS 'digest of the definition of code that an operator''s revert replaced';

CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_due_once ON jobs (due_at) WHERE due_at IS NOT NULL AND delivery = 'at_most_once';

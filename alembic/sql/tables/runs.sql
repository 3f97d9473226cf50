CREATE TABLE runs (
    run_id              uuid NOT NULL,
    job_id              text COLLATE "C" NOT NULL,
    job_name            text NOT NULL,
    scheduled_for       timestamptz NOT NULL,
    due_at              timestamptz NOT NULL,
    origin              text NOT NULL,
    status              text NOT NULL,
    reason              text,
    attempt             integer NOT NULL DEFAULT 0,
    deliveries          integer NOT NULL DEFAULT 0,
    next_attempt_at     timestamptz,
    started_at          timestamptz,
    attempt_started_at  timestamptz,
    finished_at         timestamptz,
    term                bigint,
    instance_id         text,
    definition_version  bigint NOT NULL,
    error               text,
    missed_count        bigint,
    missed_from         timestamptz,
    rerun_of            uuid,
    -- what an operator asked for, kept so that whoever owns the run, or inherits it, honours it
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    orphaned            bigint,
    -- the executor whose replicas may take it, while nobody owns it
    offered             text,
    -- what it is counted under, while it may execute
    concurrency_key     text,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (job_id, scheduled_for)
) PARTITION BY RANGE (scheduled_for);

COMMENT ON COLUMN runs.concurrency_key IS 'the limit that it was admitted under; NULL: it was not, or needs not be';
COMMENT ON COLUMN runs.offered IS 'the executor that may take it, whoever leads; NULL: the leader''s to begin';
COMMENT ON COLUMN runs.orphaned IS 'times that its owner died while nobody knew whether it had begun; NULL: never';

-- Run ids grow with time. A summary of each few pages finds one in milliseconds and costs a fire next to nothing; a
-- tree would be written to twice a fire: at the claim, and at the outcome, whose new row version needs its own entries.
CREATE INDEX runs_by_id ON runs USING brin (run_id) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX runs_unfinished ON runs (run_id)
    WHERE status IN ('pending', 'queued', 'running', 'retrying');
CREATE INDEX runs_offered ON runs (coalesce(next_attempt_at, due_at))
    WHERE offered IS NOT NULL AND instance_id IS NULL AND status IN ('pending', 'retrying');
CREATE INDEX runs_limited ON runs (concurrency_key)
    WHERE concurrency_key IS NOT NULL AND status IN ('pending', 'queued', 'running', 'retrying');
CREATE INDEX runs_cancelled ON runs (cancel_requested_at) WHERE cancel_requested_at IS NOT NULL;

-- A row can be named by who replicates it, in the parent as in its days (fit_out_history).
ALTER TABLE runs REPLICA IDENTITY USING INDEX runs_job_id_scheduled_for_key;

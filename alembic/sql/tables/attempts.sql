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

-- A row can be named by who replicates it, in the parent as in its days (fit_out_history).
ALTER TABLE attempts REPLICA IDENTITY USING INDEX attempts_job_id_scheduled_for_attempt_term_outcome_key;

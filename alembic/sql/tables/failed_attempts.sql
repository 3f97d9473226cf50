CREATE TABLE failed_attempts (
    failure_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id        text COLLATE "C" NOT NULL,
    run_id        uuid NOT NULL,
    scheduled_for timestamptz NOT NULL,
    attempt       integer NOT NULL,
    failed_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE failed_attempts IS
    'attempts that failed and that nobody has looked at yet; a trigger fills it, a look at alarms empties it';

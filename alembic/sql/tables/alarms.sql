CREATE TABLE alarms (
    alarm_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('failure', 'overdue', 'disabled', 'clock', 'transaction')),
    job_id      text COLLATE "C" NOT NULL,
    job_name    text NOT NULL,
    since       timestamptz NOT NULL,
    detail      text NOT NULL,
    run_id      uuid,
    failed_runs bigint NOT NULL,
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at   timestamptz,
    closed_why  text
);

COMMENT ON COLUMN alarms.since IS 'when the trouble began, as far as anybody knows';

CREATE UNIQUE INDEX alarms_open ON alarms (job_id, kind) WHERE closed_at IS NULL;
CREATE INDEX alarms_closed ON alarms (closed_at) WHERE closed_at IS NOT NULL;

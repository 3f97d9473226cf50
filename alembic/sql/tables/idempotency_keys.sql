CREATE TABLE idempotency_keys (
    token_id       uuid NOT NULL,
    key            text NOT NULL,
    request_digest bytea NOT NULL,
    run_id         uuid NOT NULL,
    claimed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    status         integer,
    answer         jsonb,
    PRIMARY KEY (token_id, key)
);

COMMENT ON COLUMN idempotency_keys.run_id IS
    'the run that the request makes, if it makes one: known before it is made';

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (claimed_at);

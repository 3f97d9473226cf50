CREATE TABLE api_sessions (
    session_digest bytea PRIMARY KEY,
    token_id       uuid NOT NULL REFERENCES api_tokens ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL
);

CREATE INDEX api_sessions_by_token ON api_sessions (token_id);

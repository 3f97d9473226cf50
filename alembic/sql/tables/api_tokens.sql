-- Only digests: who reads this table can't sign in with it. A name is free again once its token is revoked.
CREATE TABLE api_tokens (
    token_id     uuid PRIMARY KEY,
    name         text NOT NULL,
    scope        text NOT NULL CHECK (scope IN ('viewer', 'operator', 'admin')),
    token_digest bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by   text NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    revoked_by   text,
    last_used_at timestamptz
);

CREATE UNIQUE INDEX api_tokens_by_digest ON api_tokens (token_digest);
CREATE UNIQUE INDEX api_tokens_by_name ON api_tokens (name) WHERE revoked_at IS NULL;

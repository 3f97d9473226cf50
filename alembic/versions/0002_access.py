"""Access: tokens, browser sessions, and the answers kept under idempotency keys.

New tables only: the previous version of the code goes on beside them.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
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

CREATE TABLE api_sessions (
    session_digest bytea PRIMARY KEY,
    token_id       uuid NOT NULL REFERENCES api_tokens ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL
);

CREATE INDEX api_sessions_by_token ON api_sessions (token_id);

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

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (claimed_at)
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE idempotency_keys, api_sessions, api_tokens")

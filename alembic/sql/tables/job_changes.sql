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

-- Filled as job_changes is.
CREATE TABLE calendar_changes (
    change_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    name          text NOT NULL,
    version       bigint NOT NULL,
    action        text NOT NULL CHECK (action IN ('added', 'changed', 'removed')),
    actor         text NOT NULL DEFAULT coalesce(nullif(current_setting('scheduler.actor', true), ''), session_user),
    source        text NOT NULL DEFAULT coalesce(nullif(current_setting('scheduler.source', true), ''), 'sql')
        CHECK (source IN ('code', 'cli', 'api', 'scheduler', 'sql')),
    database_user text NOT NULL DEFAULT session_user,
    old           jsonb,
    new           jsonb
);

CREATE INDEX calendar_changes_by_name ON calendar_changes (name, change_id);

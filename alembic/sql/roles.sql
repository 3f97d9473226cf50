-- The logs only grow: refused by privilege, also to the owner, and by the trigger `append_only` (triggers.sql).
REVOKE UPDATE, DELETE, TRUNCATE ON job_changes, calendar_changes FROM PUBLIC, CURRENT_USER;

-- Roles belong to the cluster, schemas to a database: several schedulers of one name share the role, each grants it its
-- own views, and whoever comes first creates it. Where the migrating role may not, an administrator can, before that.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') THEN
        CREATE ROLE "{reader}" NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE WARNING USING
            MESSAGE = concat('the role {reader} was not created: ', current_user, ' may not create roles'),
            HINT = 'docs/audit-log.md says how an administrator does it';
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') THEN
        GRANT USAGE ON SCHEMA {audit} TO "{reader}";
        GRANT SELECT ON ALL TABLES IN SCHEMA {audit} TO "{reader}";
    END IF;
END
$$;

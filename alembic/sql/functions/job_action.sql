CREATE FUNCTION job_action(was jsonb, becomes jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN {schema}.job_definition(was) - 'enabled' <> {schema}.job_definition(becomes) - 'enabled' THEN 'changed'
        WHEN was -> 'enabled' <> becomes -> 'enabled'
        THEN CASE WHEN becomes -> 'enabled' = to_jsonb(true) THEN 'enabled' ELSE 'disabled' END
        WHEN was ->> 'paused_at' IS NOT NULL AND becomes ->> 'paused_at' IS NULL THEN 'resumed'
        WHEN becomes ->> 'paused_at' IS NOT NULL
             AND (was - 'auto_disabled_at') <> (becomes - 'auto_disabled_at') THEN 'paused'
        WHEN was ->> 'auto_disabled_at' IS NOT NULL AND becomes ->> 'auto_disabled_at' IS NULL THEN 'enabled'
        WHEN becomes ->> 'auto_disabled_at' IS NOT NULL
             AND was -> 'auto_disabled_at' <> becomes -> 'auto_disabled_at' THEN 'disabled'
        WHEN was <> becomes THEN 'changed'
        ELSE 'renumbered'
    END
$$;

-- Whoever may log in may wait for any advisory lock, and have it once its holder is dead: what counts is who has it.
-- The lock is looked for first, and its owner only where there is one.
CREATE FUNCTION witness_held(witness_key bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = ((witness_key >> 32) & 4294967295)::oid
          AND objid = (witness_key & 4294967295)::oid
          AND pid = coalesce((SELECT max(control_pid) FROM {schema}.instances WHERE life_key = witness_key), pid))
$$;

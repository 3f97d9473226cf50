CREATE FUNCTION await_witness(witness_key bigint, wait_ms integer) RETURNS boolean
LANGUAGE plpgsql AS $$
-- True once the leader's registered session does not hold the witness; false when wait_ms is over. The time-out is
-- caught here, so that the server's log stays quiet, and the wait is short, so that no snapshot is pinned for long.
DECLARE
    registered integer := (SELECT control_pid FROM {schema}.leader);
    deadline timestamptz := clock_timestamp() + make_interval(secs => wait_ms / 1000.0);
    is_held boolean;
    is_contested boolean;
BEGIN
    LOOP
        -- Followers wait in share mode. Whoever else wants it whole gets it before us when the leader dies.
        SELECT coalesce(bool_or(granted AND pid = coalesce(registered, pid)), false),
               coalesce(bool_or(pid <> registered), false)
        INTO is_held, is_contested
        FROM pg_locks
        WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = ((witness_key >> 32) & 4294967295)::oid
          AND objid = (witness_key & 4294967295)::oid;
        IF NOT is_held THEN
            RETURN true;
        ELSIF clock_timestamp() >= deadline THEN
            RETURN false;
        ELSIF is_contested THEN
            PERFORM pg_sleep(0.01);
        ELSE
            BEGIN
                PERFORM set_config('lock_timeout', wait_ms || 'ms', true);
                PERFORM pg_advisory_xact_lock_shared(witness_key);
                RETURN true;
            EXCEPTION WHEN lock_not_available THEN
                -- Somebody may have come in between meanwhile: one more look, at what is over.
                deadline := clock_timestamp();
            END;
        END IF;
    END LOOP;
END
$$;

-- Jobs are added by the thousand: their documents are made of the columns, which costs two thirds of taking a whole row
-- apart as `job_document` does. The tests hold the two against each other.
-- With the rights of the schema's owner, so that an application's role needs none on the log, and with settings of its
-- own, so that a document is the same whoever writes it.
-- Hung on a table of somebody else's, it would write what he likes into the log: it looks where it hangs first.
CREATE FUNCTION log_added_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp SET timezone TO 'UTC' SET extra_float_digits TO 1 AS $$
BEGIN
    IF TG_RELID IS DISTINCT FROM CAST('jobs' AS regclass) THEN
        RAISE EXCEPTION USING
            MESSAGE = concat('this function is a trigger of jobs, and of nothing else'),
            ERRCODE = 'insufficient_privilege';
    END IF;
    -- A job that comes back goes on counting where it left off, in the log and in its row.
    WITH numbered AS MATERIALIZED (
        SELECT a.job_id, a.version, greatest(a.version, 1 + before.latest) AS number,
               to_jsonb(d) AS document
        FROM added a
        CROSS JOIN LATERAL (
            SELECT job_id, name, schedule_type, schedule_value, timezone, start_at, end_at, dst, jitter, calendars,
                   callback, args, kwargs, enabled, misfire, misfire_grace, catch_up_limit, overlap, delivery, timeout,
                   max_retries, retry_delay, retry_max_delay, disable_after, executor, concurrency_key,
                   concurrency_limit, rate_limit, priority, tags, use_distributed_lock, lock_key, lock_ttl, anchor,
                   paused_at, paused_until, paused_by, pause_note, auto_disabled_at
        ) AS d
        CROSS JOIN LATERAL (
            SELECT coalesce(max(c.version), 0) AS latest FROM job_changes c WHERE c.job_id = a.job_id
        ) AS before
    ), logged AS (
        INSERT INTO job_changes (job_id, version, action, new)
        SELECT job_id, number, 'added', document FROM numbered ORDER BY job_id
    )
    UPDATE jobs j SET version = n.number FROM numbered n WHERE n.number > n.version AND j.job_id = n.job_id;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION log_added_jobs() FROM PUBLIC;

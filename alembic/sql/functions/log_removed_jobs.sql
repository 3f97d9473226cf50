-- With the rights of the schema's owner, so that an application's role needs none on the log, and with settings of its
-- own, so that a document is the same whoever writes it.
-- Hung on a table of somebody else's, it would write what he likes into the log: it looks where it hangs first.
CREATE FUNCTION log_removed_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp SET timezone TO 'UTC' SET extra_float_digits TO 1 AS $$
BEGIN
    IF TG_RELID IS DISTINCT FROM CAST('jobs' AS regclass) THEN
        RAISE EXCEPTION USING
            MESSAGE = concat('this function is a trigger of jobs, and of nothing else'),
            ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO job_changes (job_id, version, action, old)
    SELECT r.job_id, 1 + greatest(r.version, before.latest), 'removed', job_document(to_jsonb(r))
    FROM removed r
    CROSS JOIN LATERAL (SELECT max(c.version) AS latest FROM job_changes c WHERE c.job_id = r.job_id) AS before
    ORDER BY r.job_id;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION log_removed_jobs() FROM PUBLIC;

-- A TRUNCATE says nothing of rows, so they are deleted first.
-- With the rights of the schema's owner, so that an application's role needs none on the log, and with settings of its
-- own, so that a document is the same whoever writes it.
-- Hung on a table of somebody else's, it would delete what is ours: it looks where it hangs first.
CREATE FUNCTION log_truncated_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp SET timezone TO 'UTC' SET extra_float_digits TO 1 AS $$
BEGIN
    IF TG_RELID IS DISTINCT FROM CAST('jobs' AS regclass) THEN
        RAISE EXCEPTION USING
            MESSAGE = concat('this function is a trigger of jobs, and of nothing else'),
            ERRCODE = 'insufficient_privilege';
    END IF;
    DELETE FROM jobs;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION log_truncated_jobs() FROM PUBLIC;

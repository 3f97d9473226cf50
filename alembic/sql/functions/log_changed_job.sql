-- A change that did not raise the version (by hand) gets a number here, so that a claim that was planned before finds
-- nothing, as after any other change. Raising it calls this again: that is no change.
-- With the rights of the schema's owner, so that an application's role needs none on the log, and with settings of its
-- own, so that a document is the same whoever writes it.
-- Hung on a table of somebody else's, it would write what he likes into the log: it looks where it hangs first.
CREATE FUNCTION log_changed_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp SET timezone TO 'UTC' SET extra_float_digits TO 1 AS $$
DECLARE
    was jsonb := job_document(to_jsonb(OLD));
    becomes jsonb := job_document(to_jsonb(NEW));
    latest bigint;
    number bigint;
    wanted bigint;
BEGIN
    IF TG_RELID IS DISTINCT FROM CAST('jobs' AS regclass) THEN
        RAISE EXCEPTION USING
            MESSAGE = concat('this function is a trigger of jobs, and of nothing else'),
            ERRCODE = 'insufficient_privilege';
    END IF;
    IF OLD.job_id <> NEW.job_id THEN
        INSERT INTO job_changes (job_id, version, action, old)
        SELECT OLD.job_id, 1 + greatest(OLD.version, max(c.version)), 'removed', was
        FROM job_changes c WHERE c.job_id = OLD.job_id;
    END IF;
    SELECT max(c.version) INTO latest FROM job_changes c WHERE c.job_id = NEW.job_id;
    IF was = becomes AND NEW.version = latest THEN
        RETURN NULL;
    END IF;
    number := greatest(NEW.version, coalesce(latest, 0) + 1);
    -- What calls itself a revert is one only if it brings back what it says.
    SELECT c.version INTO wanted FROM job_changes c
    WHERE c.job_id = NEW.job_id
      AND c.version = CAST(nullif(current_setting('scheduler.reverts_to', true), '') AS bigint)
      AND job_definition(c.new) - 'anchor' = job_definition(becomes) - 'anchor';
    INSERT INTO job_changes (job_id, version, action, reverted_to, old, new)
    VALUES (NEW.job_id, number,
            CASE WHEN OLD.job_id <> NEW.job_id THEN 'added'
                 WHEN wanted IS NOT NULL THEN 'reverted'
                 ELSE job_action(was, becomes) END,
            wanted, CASE WHEN OLD.job_id = NEW.job_id THEN was END, becomes);
    IF number <> NEW.version THEN
        UPDATE jobs SET version = number WHERE job_id = NEW.job_id;
    END IF;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION log_changed_job() FROM PUBLIC;

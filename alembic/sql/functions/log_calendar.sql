-- With the rights of the schema's owner, so that an application's role needs none on the log, and with settings of its
-- own, so that a document is the same whoever writes it.
-- Hung on a table of somebody else's, it would write what he likes into the log: it looks where it hangs first.
CREATE FUNCTION log_calendar() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp SET timezone TO 'UTC' SET extra_float_digits TO 1 AS $$
DECLARE
    unlogged text[] := ARRAY['version', 'created_at', 'updated_at', 'updated_by'];
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - unlogged END;
    becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - unlogged END;
BEGIN
    IF TG_RELID IS DISTINCT FROM CAST('calendars' AS regclass) THEN
        RAISE EXCEPTION USING
            MESSAGE = concat('this function is a trigger of calendars, and of nothing else'),
            ERRCODE = 'insufficient_privilege';
    END IF;
    IF was IS DISTINCT FROM becomes THEN
        INSERT INTO calendar_changes (name, version, action, old, new)
        VALUES (CASE WHEN TG_OP = 'DELETE' THEN OLD.name ELSE NEW.name END,
                CASE WHEN TG_OP = 'DELETE' THEN OLD.version + 1 ELSE NEW.version END,
                CASE TG_OP WHEN 'INSERT' THEN 'added' WHEN 'DELETE' THEN 'removed' ELSE 'changed' END,
                was, becomes);
    END IF;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION log_calendar() FROM PUBLIC;

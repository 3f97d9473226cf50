-- With the rights of the schema's owner, so that a replica's role needs to own nothing: it makes a day of the history,
-- and nothing else. CREATE, then ATTACH: PARTITION OF would lock the parent against every row.
CREATE FUNCTION create_history_day(parent text, partition text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp SET timezone TO 'UTC' AS $$
BEGIN
    IF (parent IN ('runs', 'attempts') AND partition ~ concat('^', parent, '_[0-9]{8}(_[2-9])?$')) IS NOT TRUE THEN
        RAISE EXCEPTION USING
            MESSAGE = concat('create_history_day makes days of runs and attempts, not ', quote_nullable(partition),
                             ' of ', quote_nullable(parent)),
            ERRCODE = 'insufficient_privilege';
    END IF;
    -- Both are plain names by now.
    EXECUTE concat('CREATE TABLE ', partition, ' (LIKE ', parent, ' INCLUDING ALL EXCLUDING IDENTITY)');
    EXECUTE concat('ALTER TABLE ', parent, ' ATTACH PARTITION ', partition, ' FOR VALUES FROM (',
                   quote_literal(CAST(day AS timestamptz)), ') TO (', quote_literal(CAST(day + 1 AS timestamptz)), ')');
    PERFORM fit_out_history();
END
$$;

REVOKE ALL ON FUNCTION create_history_day(text, text, date) FROM PUBLIC;

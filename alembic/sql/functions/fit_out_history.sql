-- What LIKE and ATTACH leave out, whatever the parent has. A publication FOR ALL TABLES has Postgres refuse each UPDATE
-- and DELETE of a row that nothing names. And an outcome is another version of its run's row, which an index's
-- condition names, so that it is never a short cut within the page; but where the page has room for it, the log takes
-- only what differs, and one page is written instead of two: with four tenths left free a fire writes a sixth less (767
-- and 647 bytes of its run, measured), and what a vacuum frees in the page suffices for new runs. Changes of the
-- catalog alone: no row is read. With the rights of the schema's owner, and nothing that could be asked of it but this.
CREATE FUNCTION fit_out_history() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp AS $$
DECLARE
    lacking record;
BEGIN
    FOR lacking IN
        SELECT CAST(c.oid AS regclass) AS table_name, chosen.index_name
        FROM (SELECT relid FROM pg_partition_tree('runs')
              UNION ALL SELECT relid FROM pg_partition_tree('attempts')) AS t
        JOIN pg_class c ON c.oid = t.relid
        CROSS JOIN LATERAL (
            SELECT i.relname AS index_name
            FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
            WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indimmediate
              AND x.indpred IS NULL AND x.indexprs IS NULL
              AND NOT EXISTS (SELECT FROM pg_attribute a
                              WHERE a.attrelid = c.oid AND a.attnum = ANY (x.indkey) AND NOT a.attnotnull)
            ORDER BY x.indnatts, x.indexrelid
            LIMIT 1
        ) AS chosen
        WHERE c.relreplident = 'd'
          AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid)
    LOOP
        EXECUTE concat('ALTER TABLE ', lacking.table_name, ' REPLICA IDENTITY USING INDEX ',
                       quote_ident(lacking.index_name));
    END LOOP;
    FOR lacking IN
        SELECT t.relid AS table_name
        FROM pg_partition_tree('runs') AS t JOIN pg_class c ON c.oid = t.relid
        WHERE t.isleaf AND NOT coalesce(c.reloptions::text LIKE '%fillfactor%', false)
    LOOP
        EXECUTE concat('ALTER TABLE ', lacking.table_name, ' SET (fillfactor = 60)');
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION fit_out_history() FROM PUBLIC;

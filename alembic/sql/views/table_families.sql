-- Needs no scheduler to be alive: whoever can read this sees that tables run short. Days left are those after today
-- without a gap; -1: today has none. A family that asks for few days ahead is short once it is a day behind.
CREATE VIEW {audit}.table_families AS
SELECT f.schema_name, f.family, f.partitioned, f.days_ahead, f.retention_days,
       t.tables, t.first_table, t.last_table, d.days_left,
       d.days_left < least(2, greatest(f.days_ahead - 1, 0)) AS is_short
FROM {schema}.table_families f
-- Not to_regclass: it asks for rights on the family's schema, which a reader of this view needs not have.
LEFT JOIN LATERAL (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = f.schema_name AND c.relname = f.family
) AS parent ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS tables, min(c.relname::text) AS first_table, max(c.relname::text) AS last_table
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE CASE WHEN f.partitioned
               THEN EXISTS (SELECT FROM {schema}.table_partitions p
                            WHERE p.parent = parent.oid
                              AND p.partition = c.oid AND NOT p.is_pending)
               ELSE n.nspname = f.schema_name AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                    AND starts_with(c.relname, f.family)
                    AND substr(c.relname, length(f.family) + 1) ~ '^_[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])$'
          END
) AS t
CROSS JOIN LATERAL (
    SELECT coalesce(min(n) FILTER (WHERE NOT there), f.days_ahead + 1) - 1 AS days_left
    FROM generate_series(0, f.days_ahead) AS n,
         LATERAL (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date + n AS day) AS days,
         LATERAL (SELECT CASE WHEN f.partitioned THEN EXISTS (
             SELECT FROM {schema}.table_partitions p
             WHERE p.parent = parent.oid AND NOT p.is_pending
               AND p.first <= day::timestamp AT TIME ZONE 'UTC'
               AND p.last >= (day + 1)::timestamp AT TIME ZONE 'UTC')
         ELSE EXISTS (
             SELECT FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
             WHERE s.nspname = f.schema_name AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               AND c.relname = f.family || to_char(day, '"_"YYYYMMDD'))
         END AS there) AS found
) AS d;

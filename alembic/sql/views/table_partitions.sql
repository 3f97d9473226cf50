-- What bounds the partitions of tables that are partitioned by the range of one time column; dates and timestamps
-- without a time zone are UTC.
CREATE VIEW table_partitions AS
SELECT p.inhparent AS parent, p.inhrelid AS partition, p.inhdetachpending AS is_pending,
       b.bound = 'DEFAULT' AS is_default,
       CASE WHEN b.bound LIKE 'FOR VALUES FROM (MINVALUE)%' THEN '-infinity'::timestamptz
            WHEN b.type = 'timestamptz' THEN substring(b.bound FROM 'FROM \(''([^'']+)''\)')::timestamptz
            WHEN b.type IN ('timestamp', 'date')
            THEN substring(b.bound FROM 'FROM \(''([^'']+)''\)')::timestamp AT TIME ZONE 'UTC' END AS first,
       CASE WHEN b.bound LIKE '%TO (MAXVALUE)' THEN 'infinity'::timestamptz
            WHEN b.type = 'timestamptz' THEN substring(b.bound FROM 'TO \(''([^'']+)''\)')::timestamptz
            WHEN b.type IN ('timestamp', 'date')
            THEN substring(b.bound FROM 'TO \(''([^'']+)''\)')::timestamp AT TIME ZONE 'UTC' END AS last
FROM pg_inherits p
JOIN pg_partitioned_table k ON k.partrelid = p.inhparent AND k.partstrat = 'r' AND k.partnatts = 1
JOIN LATERAL (
    SELECT pg_get_expr(c.relpartbound, 0) AS bound, t.typname AS type
    FROM pg_class c, pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.oid = p.inhrelid AND a.attrelid = p.inhparent AND a.attnum = k.partattrs[0]
) AS b ON true;

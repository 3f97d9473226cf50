CREATE TABLE table_families (
    schema_name    text NOT NULL,
    family         text NOT NULL,
    partitioned    boolean NOT NULL,
    days_ahead     integer NOT NULL,
    retention_days integer,
    declared_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schema_name, family)
);

COMMENT ON TABLE table_families IS 'the families whose tables somebody creates: missed when they are not there';

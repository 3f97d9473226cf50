CREATE VIEW {audit}.clock_holds AS
SELECT hold_id, expected_at, database_at, database_at - expected_at AS ahead_by, evidence, term, instance_id, ended_at,
       ended_why
FROM {schema}.clock_holds;

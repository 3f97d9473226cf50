CREATE VIEW {audit}.attempts AS
SELECT run_id, job_id, scheduled_for, attempt, started_at, finished_at, outcome, error_type, error_message,
       term, instance_id, late
FROM {schema}.attempts
UNION ALL
SELECT run_id, job_id, scheduled_for, attempt, attempt_started_at, finished_at, 'succeeded', NULL, NULL,
       term, instance_id, false
FROM {schema}.runs
WHERE status = 'succeeded';

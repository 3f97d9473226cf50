CREATE VIEW {audit}.alarms AS
SELECT alarm_id, kind, job_id, job_name, since, detail, run_id, failed_runs, opened_at, last_at, closed_at, closed_why
FROM {schema}.alarms;

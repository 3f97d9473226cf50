CREATE VIEW {audit}.jobs AS
SELECT job_id, name, schedule_type, schedule_value, timezone,
       enabled AND auto_disabled_at IS NULL AND finished_at IS NULL AS enabled,
       next_run, last_run, run_count, error_count, consecutive_failures, version
FROM {schema}.jobs;

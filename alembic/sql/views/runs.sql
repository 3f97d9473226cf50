CREATE VIEW {audit}.runs AS
SELECT run_id, job_id, job_name, scheduled_for, origin, status, reason,
       CASE WHEN started_at IS NULL THEN 0
            WHEN status IN ('running') THEN attempt + 1
            ELSE attempt END AS attempts,
       deliveries, started_at, finished_at,
       finished_at - started_at AS duration,
       started_at - scheduled_for AS lateness,
       term, instance_id, definition_version, error, missed_count, missed_from,
       rerun_of, cancel_requested_at, cancel_requested_by
FROM {schema}.runs;

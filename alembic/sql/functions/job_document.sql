-- What of a job's row is definition or operator's state: all but cursor, counters and bookkeeping. A column that is
-- added to `jobs` later is logged unless it is named here. Who named the callback stands beside the definition, as who
-- declared the job does.
CREATE FUNCTION job_document(job jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT job - ARRAY['next_run', 'due_at', 'version', 'digest', 'schedule_digest', 'declared_by', 'declared_since',
                       'set_aside', 'finished_at', 'last_run', 'run_count', 'error_count', 'consecutive_failures',
                       'last_status', 'last_error', 'created_at', 'application', 'added_at_run_time']
$$;

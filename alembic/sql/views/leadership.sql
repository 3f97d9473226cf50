CREATE VIEW {audit}.leadership AS
SELECT term, instance_id, host, acquired_at, ended_at, end_reason, leaderless_for, resign_requested_at,
       resign_requested_by
FROM {schema}.leader_terms;

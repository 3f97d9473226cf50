CREATE VIEW {audit}.job_changes AS
SELECT changed_at, job_id, version, action, actor, source, old, new, effective_at, reverted_to, database_user, change_id
FROM {schema}.job_changes;

CREATE VIEW {audit}.calendar_changes AS
SELECT changed_at, name, version, action, actor, source, old, new, database_user, change_id
FROM {schema}.calendar_changes;

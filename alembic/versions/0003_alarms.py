"""Alarms: what is wrong with which job, attempts that failed since the last look, and the outbox of notifications.

New tables, a view, and one trigger. It stands on `attempts`, which gets rows only where an attempt did not succeed: a
run that succeeds pays nothing for it.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE failed_attempts (
    failure_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id        text COLLATE "C" NOT NULL,
    run_id        uuid NOT NULL,
    scheduled_for timestamptz NOT NULL,
    attempt       integer NOT NULL,
    failed_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE failed_attempts IS
    'attempts that failed and that nobody has looked at yet; a trigger fills it, a look at alarms empties it';

CREATE TABLE alarms (
    alarm_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('failure', 'overdue', 'disabled')),
    job_id      text COLLATE "C" NOT NULL,
    job_name    text NOT NULL,
    since       timestamptz NOT NULL,
    detail      text NOT NULL,
    run_id      uuid,
    failed_runs bigint NOT NULL,
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at   timestamptz,
    closed_why  text
);
COMMENT ON COLUMN alarms.since IS 'when the trouble began, as far as anybody knows';

CREATE UNIQUE INDEX alarms_open ON alarms (job_id, kind) WHERE closed_at IS NULL;
CREATE INDEX alarms_closed ON alarms (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE notifications (
    notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id      uuid NOT NULL DEFAULT gen_random_uuid(),
    event           text NOT NULL,
    body            jsonb NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    refused         boolean NOT NULL DEFAULT false,
    claimed_by      text,
    last_error      text,
    delivered_at    timestamptz,
    given_up_at     timestamptz
);
COMMENT ON COLUMN notifications.message_id IS
    'the same for every attempt: by it a receiver knows one that comes twice';
COMMENT ON COLUMN notifications.refused IS 'the receiver will not have it; those behind it need not wait';

CREATE INDEX notifications_waiting ON notifications (notification_id)
    WHERE delivered_at IS NULL AND given_up_at IS NULL;
CREATE INDEX notifications_ended ON notifications (created_at)
    WHERE delivered_at IS NOT NULL OR given_up_at IS NOT NULL;

CREATE TABLE alarm_watch (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version        bigint NOT NULL,
    looked_at      timestamptz NOT NULL,
    looked_by      text NOT NULL,
    term           bigint NOT NULL,
    notifies_until timestamptz,
    dropped        bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN alarm_watch.version IS 'of several replicas that look at once, one raises it and wins';
COMMENT ON COLUMN alarm_watch.term IS 'terms up to it are told';
COMMENT ON COLUMN alarm_watch.notifies_until IS 'until then some replica is believed to deliver notifications';
COMMENT ON COLUMN alarm_watch.dropped IS 'notifications for which the outbox had no room'
"""

# In the transaction that records how the attempt ended, so that no failure is told that was not recorded, and none is
# lost that was. Whether the run failed with it is asked by the look: to ask here would cost three times as much (35
# against 10 microseconds, measured). With the rights of the schema's owner, so that an application's role needs none on
# this table.
NOTE_FAILED_ATTEMPT = """
CREATE FUNCTION {schema}.note_failed_attempt() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp AS $$
BEGIN
    INSERT INTO failed_attempts (job_id, run_id, scheduled_for, attempt)
    VALUES (NEW.job_id, NEW.run_id, NEW.scheduled_for, NEW.attempt);
    RETURN NULL;
END
$$
"""

TRIGGER = """
CREATE TRIGGER attempt_failed AFTER INSERT ON attempts FOR EACH ROW
    WHEN (NEW.outcome <> 'cancelled' AND NOT NEW.late)
    EXECUTE FUNCTION note_failed_attempt()
"""

VIEW = """
CREATE VIEW {audit}.alarms AS
SELECT alarm_id, kind, job_id, job_name, since, detail, run_id, failed_runs, opened_at, last_at, closed_at, closed_why
FROM {schema}.alarms
"""

GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') THEN
        GRANT SELECT ON {audit}.alarms TO "{reader}";
    END IF;
END
$$
"""


def upgrade() -> None:
    schema = op.get_context().opts["scheduler_schema"]
    names = {"schema": f'"{schema}"', "audit": f'"{schema}_audit"', "reader": f"{schema}_audit_reader"}
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    op.execute(NOTE_FAILED_ATTEMPT.format(**names))
    op.execute(TRIGGER)
    op.execute(VIEW.format(**names))
    op.execute(GRANT.format(**names))


def downgrade() -> None:
    schema = op.get_context().opts["scheduler_schema"]
    op.execute(f'DROP VIEW "{schema}_audit".alarms')
    op.execute("DROP TRIGGER attempt_failed ON attempts")
    op.execute("DROP FUNCTION note_failed_attempt()")
    op.execute("DROP TABLE alarm_watch, notifications, alarms, failed_attempts")

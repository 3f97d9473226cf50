"""Clocks, zones and callers.

The reading of the database's clock that planning last went by, what stopped it, and what each replica knows of time;
who may call which callback; and which runs may have killed their process.

New tables, columns that may be NULL, a function, and one more kind of alarm. The version before reads none of it: its
jobs belong to no application, and it counts no run as orphaned; an alarm of a kind that it does not know keeps it from
looking at alarms while that is open, and leaves that to others.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INSTANCES = """
ALTER TABLE instances
    ADD COLUMN zone_release text,
    ADD COLUMN zones text[],
    ADD COLUMN boot text,
    ADD COLUMN clock_ahead double precision;
COMMENT ON COLUMN instances.zone_release IS 'the release of the time zone data that it goes by; NULL: it has not said';
COMMENT ON COLUMN instances.zones IS 'the time zones that it knows; NULL: it has not said';
COMMENT ON COLUMN instances.boot IS 'names the last start of its machine';
COMMENT ON COLUMN instances.clock_ahead IS 'the database''s clock minus its machine''s, in seconds'
"""

TABLES = """
CREATE TABLE clock (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version     bigint NOT NULL,
    database_at timestamptz NOT NULL,
    wall_at     timestamptz NOT NULL,
    boot        text NOT NULL,
    boottime    double precision NOT NULL,
    error       double precision NOT NULL,
    accepted_by text NOT NULL
);
COMMENT ON TABLE clock IS 'the reading of the database''s clock that planning last went by';
COMMENT ON COLUMN clock.version IS 'raised by each agreement of an operator';
COMMENT ON COLUMN clock.wall_at IS 'what the wall clock of the machine that took it showed at that moment';
COMMENT ON COLUMN clock.boottime IS 'seconds since that machine''s start, which boot names';

CREATE TABLE clock_holds (
    hold_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version     bigint NOT NULL,
    expected_at timestamptz NOT NULL,
    database_at timestamptz NOT NULL,
    wall_at     timestamptz NOT NULL,
    boot        text NOT NULL,
    boottime    double precision NOT NULL,
    error       double precision NOT NULL,
    evidence    text NOT NULL,
    term        bigint NOT NULL,
    instance_id text NOT NULL,
    told        boolean NOT NULL DEFAULT false,
    ended_at    timestamptz,
    ended_why   text
);
COMMENT ON TABLE clock_holds IS 'why planning stopped: readings of the database''s clock that were not believed';
COMMENT ON COLUMN clock_holds.version IS 'of clock, at that moment';
COMMENT ON COLUMN clock_holds.expected_at IS 'what the clock should have shown';
COMMENT ON COLUMN clock_holds.told IS 'an alarm was raised for it';

CREATE UNIQUE INDEX clock_holds_open ON clock_holds (version) WHERE ended_at IS NULL;
CREATE INDEX clock_holds_untold ON clock_holds (hold_id) WHERE NOT told
"""

# Some thousand rows at most, in a table that no fire touches.
ALARMS = """
-- squawk-ignore ban-drop-constraint
ALTER TABLE alarms DROP CONSTRAINT alarms_kind_check;
ALTER TABLE alarms ADD CONSTRAINT alarms_kind_check
    CHECK (kind IN ('failure', 'overdue', 'disabled', 'clock')) NOT VALID;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE alarms VALIDATE CONSTRAINT alarms_kind_check
"""

VIEW = """
CREATE VIEW {audit}.clock_holds AS
SELECT hold_id, expected_at, database_at, database_at - expected_at AS ahead_by, evidence, term, instance_id, ended_at,
       ended_why
FROM {schema}.clock_holds
"""

GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') THEN
        GRANT SELECT ON {audit}.clock_holds TO "{reader}";
    END IF;
END
$$
"""

CALLERS = """
ALTER TABLE jobs
    ADD COLUMN application text,
    ADD COLUMN added_at_run_time boolean;
COMMENT ON COLUMN jobs.application IS 'whose code named the callback; NULL: no code did';
COMMENT ON COLUMN jobs.added_at_run_time IS 'by code that was running already: no start declares it anew';
ALTER TABLE runs ADD COLUMN orphaned bigint;
COMMENT ON COLUMN runs.orphaned IS 'times that its owner died while nobody knew whether it had begun; NULL: never';
ALTER TABLE instances
    ADD COLUMN application text,
    ADD COLUMN packages text[],
    ADD COLUMN allows text[];
COMMENT ON COLUMN instances.application IS 'whose jobs it calls';
COMMENT ON COLUMN instances.packages IS 'the top-level packages whose own functions it calls for its code''s jobs';
COMMENT ON COLUMN instances.allows IS 'allowed_callbacks, as LIKE has them'
"""

# What a replica says of itself against what a job needs. It decides nothing: the replica itself looks the name up.
CAN_CALL = """
CREATE FUNCTION {schema}.can_call(replica {schema}.instances, callback text, application text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT (application IS NULL OR application = replica.application) IS TRUE
       AND (callback = ANY (replica.callbacks)
            OR callback LIKE ANY (replica.allows)
            OR application IS NOT NULL
               AND split_part(split_part(callback, ':', 1), '.', 1) = ANY (replica.packages)) IS TRUE
$$
"""

# Neither is part of what is logged as a definition: who named the callback stands beside it, as who declared the job.
JOB_DOCUMENT = """
CREATE OR REPLACE FUNCTION {schema}.job_document(job jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT job - ARRAY['next_run', 'due_at', 'version', 'digest', 'schedule_digest', 'declared_by', 'declared_since',
                       'set_aside', 'finished_at', 'last_run', 'run_count', 'error_count', 'consecutive_failures',
                       'last_status', 'last_error', 'created_at'{more}]
$$
"""


def upgrade() -> None:
    schema = op.get_context().opts["scheduler_schema"]
    names = {"schema": f'"{schema}"', "audit": f'"{schema}_audit"', "reader": f"{schema}_audit_reader"}
    for statements in (INSTANCES, TABLES, ALARMS, CALLERS):
        for statement in statements.split(";\n"):
            op.execute(statement)
    op.execute(VIEW.format(**names))
    op.execute(GRANT.format(**names))
    op.execute(CAN_CALL.format(**names))
    op.execute(JOB_DOCUMENT.format(**names, more=", 'application', 'added_at_run_time'"))


def downgrade() -> None:
    schema = op.get_context().opts["scheduler_schema"]
    op.execute(f'DROP VIEW "{schema}_audit".clock_holds')
    op.execute("DELETE FROM alarms WHERE kind = 'clock'")
    op.execute("ALTER TABLE alarms DROP CONSTRAINT alarms_kind_check")
    op.execute("ALTER TABLE alarms ADD CONSTRAINT alarms_kind_check CHECK (kind IN ('failure', 'overdue', 'disabled'))")
    op.execute("DROP TABLE clock_holds, clock")
    op.execute(
        "ALTER TABLE instances DROP COLUMN zone_release, DROP COLUMN zones, DROP COLUMN boot, DROP COLUMN clock_ahead"
    )
    op.execute(f'DROP FUNCTION "{schema}".can_call')
    op.execute(JOB_DOCUMENT.format(schema=f'"{schema}"', more=""))
    op.execute("ALTER TABLE jobs DROP COLUMN application, DROP COLUMN added_at_run_time")
    op.execute("ALTER TABLE runs DROP COLUMN orphaned")
    op.execute("ALTER TABLE instances DROP COLUMN application, DROP COLUMN packages, DROP COLUMN allows")

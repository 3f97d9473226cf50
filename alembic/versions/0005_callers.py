"""Who may call what, and which runs may kill their process.

Columns that may be NULL, and a function. The version before reads none of it: its jobs belong to no application, and it
counts no run as orphaned.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = """
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
    schema = f'"{op.get_context().opts["scheduler_schema"]}"'
    for statement in COLUMNS.split(";\n"):
        op.execute(statement)
    op.execute(CAN_CALL.format(schema=schema))
    op.execute(JOB_DOCUMENT.format(schema=schema, more=", 'application', 'added_at_run_time'"))


def downgrade() -> None:
    schema = f'"{op.get_context().opts["scheduler_schema"]}"'
    op.execute(f"DROP FUNCTION {schema}.can_call")
    op.execute(JOB_DOCUMENT.format(schema=schema, more=""))
    op.execute("ALTER TABLE jobs DROP COLUMN application, DROP COLUMN added_at_run_time")
    op.execute("ALTER TABLE runs DROP COLUMN orphaned")
    op.execute("ALTER TABLE instances DROP COLUMN application, DROP COLUMN packages, DROP COLUMN allows")

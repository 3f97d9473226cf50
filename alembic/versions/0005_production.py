"""What Postgres is like in production: publications, roles that own nothing, sessions of strangers.

Every row can be named by who replicates it; a day of the history can be made by who does not own it; functions that
act with the owner's rights do so for our own tables alone; a witness counts in the hands of the session that was
registered with it, and in nobody else's; who asks a leader to resign stands in a row; the installation has a random
id, made once for each schema, which is part of what its lease in Redis is called; tables that are written all the time
have room in their pages, or are cleaned early; and a transaction that somebody leaves open is an alarm.

New columns that may be NULL or have a default, functions, two triggers, parameters of storage, a kind of alarm. The
version before sees none of it: the triggers register its sessions, its lease goes by another name, and the days of the
history that it makes lack a replica identity until a replica that knows of it looks.
"""

from types import ModuleType

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE leader_terms
    ADD COLUMN resign_requested_at timestamptz,
    ADD COLUMN resign_requested_by text;
COMMENT ON COLUMN leader_terms.resign_requested_by IS 'who asked the leader of this term to resign; NULL: nobody';
ALTER TABLE instances ADD COLUMN control_pid integer;
-- One row: it is written anew while claims wait for a millisecond.
-- squawk-ignore adding-field-with-default
ALTER TABLE leader ADD COLUMN installation uuid NOT NULL DEFAULT gen_random_uuid();
COMMENT ON COLUMN leader.installation IS 'names this schema among all others; a copy of the database bears it too';
ALTER TABLE leader ADD COLUMN control_pid integer;
COMMENT ON COLUMN leader.control_pid IS 'the server process that holds the witness of nonce; NULL: any that holds it';
COMMENT ON COLUMN instances.control_pid IS 'the server process that holds life_key; NULL: any that holds it'
"""

# When dead rows are cleaned away, and how much room pages keep. The days of `runs` have theirs from fit_out_history. Of
# the other tables the defaults are right: rows that are written once (attempts, the log of changes, sums), one row in a
# page of its own (leader, clock, alarm_watch), and rows whose new versions find room beside the old, as nothing indexed
# changes (instances; measured). `jobs` keeps the three tenths that it has had from the beginning: with a half, or two
# thirds, of its pages left free, no more of its versions stayed within theirs (measured, with a transaction open).
# A fire is two dead versions of its job's row: a twentieth of ten million jobs dies in minutes, and of a hundred at
# once. What looks by key walk through is to be gone as soon as it may go, so a vacuum that has begun does not rest.
# A change of the catalog, which waits for nobody but another one, or a vacuum, which gives way.
STORAGE = """
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
                      autovacuum_vacuum_cost_delay = 0)
"""

STORAGE_BEFORE = """
ALTER TABLE jobs RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay)
"""

# Some thousand rows at most, in a table that no fire touches.
ALARMS = """
-- squawk-ignore ban-drop-constraint
ALTER TABLE alarms DROP CONSTRAINT alarms_kind_check;
ALTER TABLE alarms ADD CONSTRAINT alarms_kind_check
    CHECK (kind IN ('failure', 'overdue', 'disabled', 'clock', 'transaction')) NOT VALID;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE alarms VALIDATE CONSTRAINT alarms_kind_check
"""

ALARMS_BEFORE = """
DELETE FROM alarms WHERE kind = 'transaction';
ALTER TABLE alarms DROP CONSTRAINT alarms_kind_check;
ALTER TABLE alarms ADD CONSTRAINT alarms_kind_check CHECK (kind IN ('failure', 'overdue', 'disabled', 'clock'))
"""

# Which session holds a replica's witnesses: said by a trigger, so that the version before says it too.
REGISTER_CONTROL_PID = """
CREATE FUNCTION {schema}.register_control_pid() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.control_pid := CASE WHEN NEW.life_key IS NOT NULL THEN pg_backend_pid() END;
    RETURN NEW;
END
$$
"""

# The leader's stands in its own row as well: whoever waits for its witness must not have to wait for `instances`.
REGISTER_LEADERS_PID = """
CREATE FUNCTION {schema}.register_leaders_pid() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.control_pid := CASE WHEN NEW.nonce IS NOT NULL AND NEW.witnessed THEN pg_backend_pid() END;
    RETURN NEW;
END
$$
"""

CONTROL_REGISTERED = """
CREATE TRIGGER control_registered BEFORE INSERT OR UPDATE OF life_key ON instances
    FOR EACH ROW EXECUTE FUNCTION register_control_pid();
CREATE TRIGGER control_registered BEFORE UPDATE OF nonce ON leader
    FOR EACH ROW EXECUTE FUNCTION register_leaders_pid()
"""

# Whoever may log in may wait for any advisory lock, and have it once its holder is dead: what counts is who has it.
# The lock is looked for first, and its owner only where there is one.
WITNESS_HELD = """
CREATE OR REPLACE FUNCTION {schema}.witness_held(witness_key bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = ((witness_key >> 32) & 4294967295)::oid
          AND objid = (witness_key & 4294967295)::oid
          AND pid = coalesce((SELECT max(control_pid) FROM {schema}.instances WHERE life_key = witness_key), pid))
$$
"""

AWAIT_WITNESS = """
CREATE OR REPLACE FUNCTION {schema}.await_witness(witness_key bigint, wait_ms integer) RETURNS boolean
LANGUAGE plpgsql AS $$
-- True once the leader's registered session does not hold the witness; false when wait_ms is over. The time-out is
-- caught here, so that the server's log stays quiet, and the wait is short, so that no snapshot is pinned for long.
DECLARE
    registered integer := (SELECT control_pid FROM {schema}.leader);
    deadline timestamptz := clock_timestamp() + make_interval(secs => wait_ms / 1000.0);
    is_held boolean;
    is_contested boolean;
BEGIN
    LOOP
        -- Followers wait in share mode. Whoever else wants it whole gets it before us when the leader dies.
        SELECT coalesce(bool_or(granted AND pid = coalesce(registered, pid)), false),
               coalesce(bool_or(pid <> registered), false)
        INTO is_held, is_contested
        FROM pg_locks
        WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = ((witness_key >> 32) & 4294967295)::oid
          AND objid = (witness_key & 4294967295)::oid;
        IF NOT is_held THEN
            RETURN true;
        ELSIF clock_timestamp() >= deadline THEN
            RETURN false;
        ELSIF is_contested THEN
            PERFORM pg_sleep(0.01);
        ELSE
            BEGIN
                PERFORM set_config('lock_timeout', wait_ms || 'ms', true);
                PERFORM pg_advisory_xact_lock_shared(witness_key);
                RETURN true;
            EXCEPTION WHEN lock_not_available THEN
                -- Somebody may have come in between meanwhile: one more look, at what is over.
                deadline := clock_timestamp();
            END;
        END IF;
    END LOOP;
END
$$
"""

# What LIKE and ATTACH leave out, whatever the parent has. A publication FOR ALL TABLES has Postgres refuse each UPDATE
# and DELETE of a row that nothing names. And an outcome is another version of its run's row, which an index's condition
# names, so that it is never a short cut within the page; but where the page has room for it, the log takes only what
# differs, and one page is written instead of two: with four tenths left free a fire writes a sixth less (767 and 647
# bytes of its run, measured), and what a vacuum frees in the page suffices for new runs. Changes of the catalog alone:
# no row is read. With the rights of the schema's owner, and nothing that could be asked of it but this.
FIT_OUT_HISTORY = """
CREATE FUNCTION {schema}.fit_out_history() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp AS $$
DECLARE
    lacking record;
BEGIN
    FOR lacking IN
        SELECT CAST(c.oid AS regclass) AS table_name, chosen.index_name
        FROM (SELECT relid FROM pg_partition_tree('runs')
              UNION ALL SELECT relid FROM pg_partition_tree('attempts')) AS t
        JOIN pg_class c ON c.oid = t.relid
        CROSS JOIN LATERAL (
            SELECT i.relname AS index_name
            FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
            WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indimmediate
              AND x.indpred IS NULL AND x.indexprs IS NULL
              AND NOT EXISTS (SELECT FROM pg_attribute a
                              WHERE a.attrelid = c.oid AND a.attnum = ANY (x.indkey) AND NOT a.attnotnull)
            ORDER BY x.indnatts, x.indexrelid
            LIMIT 1
        ) AS chosen
        WHERE c.relreplident = 'd'
          AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND x.indisvalid)
    LOOP
        EXECUTE concat('ALTER TABLE ', lacking.table_name, ' REPLICA IDENTITY USING INDEX ',
                       quote_ident(lacking.index_name));
    END LOOP;
    FOR lacking IN
        SELECT t.relid AS table_name
        FROM pg_partition_tree('runs') AS t JOIN pg_class c ON c.oid = t.relid
        WHERE t.isleaf AND NOT coalesce(c.reloptions::text LIKE '%fillfactor%', false)
    LOOP
        EXECUTE concat('ALTER TABLE ', lacking.table_name, ' SET (fillfactor = 60)');
    END LOOP;
END
$$
"""

# With the rights of the schema's owner, so that a replica's role needs to own nothing: it makes a day of the history,
# and nothing else. CREATE, then ATTACH: PARTITION OF would lock the parent against every row.
CREATE_HISTORY_DAY = """
CREATE FUNCTION {schema}.create_history_day(parent text, partition text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO {schema}, pg_temp SET timezone TO 'UTC' AS $$
BEGIN
    IF (parent IN ('runs', 'attempts') AND partition ~ concat('^', parent, '_[0-9]{{8}}(_[2-9])?$')) IS NOT TRUE THEN
        RAISE EXCEPTION USING
            MESSAGE = concat('create_history_day makes days of runs and attempts, not ', quote_nullable(partition),
                             ' of ', quote_nullable(parent)),
            ERRCODE = 'insufficient_privilege';
    END IF;
    -- Both are plain names by now.
    EXECUTE concat('CREATE TABLE ', partition, ' (LIKE ', parent, ' INCLUDING ALL EXCLUDING IDENTITY)');
    EXECUTE concat('ALTER TABLE ', parent, ' ATTACH PARTITION ', partition, ' FOR VALUES FROM (',
                   quote_literal(CAST(day AS timestamptz)), ') TO (', quote_literal(CAST(day + 1 AS timestamptz)), ')');
    PERFORM fit_out_history();
END
$$
"""

# Hung on a table of somebody else's, these would write what he likes into the log, or delete what is ours. The rows of
# a partition come under the partition's own name.
GUARD = """
BEGIN
    IF {root} IS DISTINCT FROM CAST('{table}' AS regclass) THEN
        RAISE EXCEPTION USING
            MESSAGE = concat('this function is a trigger of {table}, and of nothing else'),
            ERRCODE = 'insufficient_privilege';
    END IF;
"""

# Name of the function in the revision that made it, the table that it serves.
OF_JOBS = ("LOG_CHANGED_JOB", "LOG_ADDED_JOBS", "LOG_REMOVED_JOBS", "LOG_TRUNCATED_JOBS")
GUARDED = {
    "0001": {**dict.fromkeys(OF_JOBS, "jobs"), "LOG_CALENDAR": "calendars"},
    "0003": {"NOTE_FAILED_ATTEMPT": "attempts"},
}
ROOTS = {"jobs": "TG_RELID", "calendars": "TG_RELID", "attempts": "pg_partition_root(TG_RELID)"}

TRIGGER_FUNCTIONS = (
    "log_changed_job",
    "log_added_jobs",
    "log_removed_jobs",
    "log_truncated_jobs",
    "log_calendar",
    "note_failed_attempt",
    "refuse_change",
    "register_control_pid",
    "register_leaders_pid",
)

LEADERSHIP = """
CREATE OR REPLACE VIEW {audit}.leadership AS
SELECT term, instance_id, host, acquired_at, ended_at, end_reason, leaderless_for, resign_requested_at,
       resign_requested_by
FROM {schema}.leader_terms
"""

LEADERSHIP_BEFORE = """
CREATE VIEW {audit}.leadership AS
SELECT term, instance_id, host, acquired_at, ended_at, end_reason, leaderless_for
FROM {schema}.leader_terms
"""

GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') THEN
        GRANT SELECT ON {audit}.leadership TO "{reader}";
    END IF;
END
$$
"""


def names() -> dict[str, str]:
    schema = op.get_context().opts["scheduler_schema"]
    return {"schema": f'"{schema}"', "audit": f'"{schema}_audit"', "reader": f"{schema}_audit_reader"}


def module_of(number: str) -> ModuleType:
    """An earlier revision: what is written there is not written again here."""
    return op.get_context().environment_context.script.get_revision(number).module


def replaced(body: str) -> str:
    return body.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1).format(**names())


def guarded(body: str, table: str) -> str:
    """The function as it was made, and a first line that looks where it hangs."""
    guard = GUARD.format(root=ROOTS[table], table=table)
    assert body.count("\nBEGIN\n") == 1
    return replaced(body.replace("\nBEGIN\n", guard, 1))


def upgrade() -> None:
    for statement in (*COLUMNS.split(";\n"), *STORAGE.split(";\n"), *ALARMS.split(";\n")):
        op.execute(statement)
    for function in (
        REGISTER_CONTROL_PID,
        REGISTER_LEADERS_PID,
        WITNESS_HELD,
        AWAIT_WITNESS,
        FIT_OUT_HISTORY,
        CREATE_HISTORY_DAY,
    ):
        op.execute(function.format(**names()))
    for statement in CONTROL_REGISTERED.split(";\n"):
        op.execute(statement)
    for number, functions in GUARDED.items():
        for name, table in functions.items():
            op.execute(guarded(getattr(module_of(number), name), table))
    for name in TRIGGER_FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {name}() FROM PUBLIC")
    op.execute("REVOKE ALL ON FUNCTION create_history_day(text, text, date), fit_out_history() FROM PUBLIC")
    op.execute(LEADERSHIP.format(**names()))
    op.execute("SELECT fit_out_history()")


def downgrade() -> None:
    op.execute("DROP VIEW {audit}.leadership".format(**names()))
    op.execute(LEADERSHIP_BEFORE.format(**names()))
    op.execute(GRANT.format(**names()))
    for number, functions in GUARDED.items():
        for name in functions:
            op.execute(replaced(getattr(module_of(number), name)))
    for name in ("WITNESS_HELD", "AWAIT_WITNESS"):
        op.execute(replaced(getattr(module_of("0001"), name)))
    op.execute("DROP FUNCTION create_history_day(text, text, date), fit_out_history()")
    op.execute("DROP TRIGGER control_registered ON instances")
    op.execute("DROP TRIGGER control_registered ON leader")
    op.execute("DROP FUNCTION register_control_pid(), register_leaders_pid()")
    for statement in (*STORAGE_BEFORE.split(";\n"), *ALARMS_BEFORE.split(";\n")):
        op.execute(statement)
    op.execute("ALTER TABLE leader DROP COLUMN installation, DROP COLUMN control_pid")
    op.execute("ALTER TABLE instances DROP COLUMN control_pid")
    op.execute("ALTER TABLE leader_terms DROP COLUMN resign_requested_at, DROP COLUMN resign_requested_by")

"""The first schema, in the order in which it is made; each noun has a file of its own in the folder `sql`.

Tables are named bare: the connection's `search_path` is the scheduler's schema. What a function's body or a view names
carries its schema, as a placeholder. A later revision says in its own file what differs, and leaves these as they are.
"""

import re
from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"

TABLES = (
    "jobs",
    "runs",
    "attempts",
    "calendars",
    "job_changes",
    "calendar_changes",
    "leader",
    "leader_terms",
    "admissions",
    "paces",
    "instances",
    "clock",
    "clock_holds",
    "table_families",
    "daily_summaries",
    "failed_attempts",
    "alarms",
    "alarm_watch",
    "notifications",
    "api_tokens",
    "api_sessions",
    "idempotency_keys",
)

FUNCTIONS = (
    "can_call",
    "await_witness",
    "witness_held",
    "is_alive",
    "register_control_pid",
    "register_leaders_pid",
    "job_document",
    "job_definition",
    "job_action",
    "log_changed_job",
    "log_added_jobs",
    "log_removed_jobs",
    "log_truncated_jobs",
    "log_calendar",
    "refuse_change",
    "note_failed_attempt",
    "fit_out_history",
    "create_history_day",
)

OF_A_REPLICA = ("can_call", "is_alive")

VIEWS = ("current_leader", "table_partitions")

AUDIT_VIEWS = (
    "jobs",
    "runs",
    "attempts",
    "job_changes",
    "calendar_changes",
    "leadership",
    "clock_holds",
    "daily_summary",
    "table_families",
    "alarms",
)

# A semicolon ends a statement, but not in a function's body, a comment or a string.
STATEMENT = re.compile(r"(?:\$\$.*?\$\$|--[^\n]*|'[^']*'|[^;])+", re.DOTALL)


def run(script: str) -> None:
    """Statement by statement: the driver prepares each, and prepares only one at a time."""
    schema = op.get_context().opts["scheduler_schema"]
    names = {"{schema}": f'"{schema}"', "{audit}": f'"{schema}_audit"', "{reader}": f"{schema}_audit_reader"}
    for placeholder, name in names.items():
        script = script.replace(placeholder, name)
    for statement in STATEMENT.findall(script):
        if statement.strip():
            op.execute(statement.strip())


def run_file(name: str) -> None:
    run((SQL / f"{name}.sql").read_text(encoding="utf-8"))


def upgrade() -> None:
    for table in TABLES:
        run_file(f"tables/{table}")
    for function in FUNCTIONS:
        run_file(f"functions/{function}")
    run_file("triggers")
    run("CREATE SCHEMA {audit}")
    for view in (*VIEWS, *AUDIT_VIEWS):
        run_file(f"views/{view}")
    run_file("roles")


def downgrade() -> None:
    # The role stays: other databases of the cluster may use it, and an administrator may have put members into it.
    run("DROP SCHEMA {audit} CASCADE")
    run(f"DROP VIEW {', '.join(VIEWS)}")
    # Their argument is a row of instances.
    run(f"DROP FUNCTION {', '.join(OF_A_REPLICA)}")
    run(f"DROP TABLE {', '.join(TABLES)}")
    run(f"DROP FUNCTION {', '.join(name for name in FUNCTIONS if name not in OF_A_REPLICA)}")

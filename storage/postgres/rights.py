"""What a replica's role must be granted, and whether it is: of one table, which docs/roles.md spells out.

A replica owns nothing. It reads and writes rows, and has Postgres make days of the history by a function that acts with
the owner's rights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler_core.storage.postgres.database import Database

READ = ("SELECT",)
KEEP = ("SELECT", "INSERT", "UPDATE")
ALL = (*KEEP, "DELETE")

RELATIONS: Mapping[str, tuple[str, ...]] = {
    "alembic_version": READ,
    "jobs": ALL,
    "runs": KEEP,
    "attempts": KEEP,
    "calendars": ALL,
    "job_changes": READ,
    "calendar_changes": READ,
    "leader": ("SELECT", "UPDATE"),
    "leader_terms": KEEP,
    "instances": ALL,
    "table_families": ALL,
    "current_leader": READ,
    "table_partitions": READ,
    "daily_summaries": READ,
    "api_tokens": KEEP,
    "api_sessions": ALL,
    "idempotency_keys": ALL,
    "failed_attempts": ("SELECT", "DELETE"),
    "alarms": ALL,
    "notifications": ALL,
    "alarm_watch": KEEP,
    "clock": KEEP,
    "clock_holds": KEEP,
}
"""Of the scheduler's schema. The logs (of changes, of failed attempts) are filled by triggers, with the owner's rights.
"""

FUNCTIONS = ("create_history_day(text, text, date)", "fit_out_history()")
"""Nobody may call these but who is granted it."""

# What the schema does not have (it may be one revision older) is no right that is lacking.
LACKING = """
SELECT current_user AS role,
       ARRAY(SELECT needed.privilege || ' ON ' || c.oid::regclass
             FROM unnest(CAST(:relations AS text[]), CAST(:privileges AS text[])) AS needed (relation, privilege)
             JOIN pg_class c ON c.relname = needed.relation
             JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = :schema
             WHERE NOT has_table_privilege(c.oid, needed.privilege)
             UNION ALL
             SELECT 'SELECT ON ' || c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = :schema || '_audit' AND c.relkind = 'v' AND NOT has_table_privilege(c.oid, 'SELECT')
             UNION ALL
             SELECT 'USAGE ON SCHEMA ' || nspname FROM pg_namespace
             WHERE nspname IN (:schema, :schema || '_audit') AND NOT has_schema_privilege(oid, 'USAGE')
       ) AS rights,
       ARRAY(SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname = :schema AND p.proname = ANY (CAST(:functions AS text[]))
               AND NOT has_function_privilege(p.oid, 'EXECUTE')) AS functions
"""


@dataclass(frozen=True, slots=True)
class LackingRights:
    """What a replica would need and a role lacks. `can_look`: whether the role may read what a doctor reads."""

    findings: tuple[dict[str, str], ...] = ()
    can_look: bool = True


class Rights:
    """What the role of these connections may do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lacking(self) -> LackingRights:
        """What a replica would need and this role lacks, each with the statement that mends it."""
        needed = [(relation, privilege) for relation, privileges in RELATIONS.items() for privilege in privileges]
        row = await self._database.fetch_one(
            LACKING,
            {
                "schema": self._database.schema,
                "relations": [relation for relation, _ in needed],
                "privileges": [privilege for _, privilege in needed],
                "functions": [function.partition("(")[0] for function in FUNCTIONS],
            },
        )
        assert row is not None
        findings = (
            *(_of_rows(row.role, right) for right in row.rights),
            *(_of_days(row.role, function) for function in row.functions),
        )
        return LackingRights(findings, can_look=not any(right.startswith(("SELECT", "USAGE")) for right in row.rights))


def grants(schema: str, role: str) -> list[str]:
    """The statements that make a role one that a replica can run as."""
    by_privileges: dict[tuple[str, ...], list[str]] = {}
    for relation, privileges in RELATIONS.items():
        by_privileges.setdefault(privileges, []).append(f"{schema}.{relation}")
    return [
        f"GRANT USAGE ON SCHEMA {schema}, {schema}_audit TO {role}",
        *(f"GRANT {', '.join(p)} ON {', '.join(relations)} TO {role}" for p, relations in by_privileges.items()),
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema}_audit TO {role}",
        f"GRANT EXECUTE ON FUNCTION {', '.join(f'{schema}.{function}' for function in FUNCTIONS)} TO {role}",
    ]


def _of_rows(role: str, right: str) -> dict[str, str]:
    return {
        "kind": "rights",
        "subject": role,
        "detail": f"a replica of this role fails without it: GRANT {right} TO {role} (docs/roles.md has them all)",
    }


def _of_days(role: str, function: str) -> dict[str, str]:
    return {
        "kind": "rights",
        "subject": role,
        "detail": "a replica of this role makes no partitions of the history, and nothing fires after the last one: "
        f"GRANT EXECUTE ON FUNCTION {function} TO {role}, or run `scheduler migrate` as the owner each day",
    }

"""What Postgres's catalog shows of a family's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from scheduler_core.domain.tables.family import TableFamily
from scheduler_core.domain.tables.steps import Found, FoundTable

# Whatever bears the name or a name that begins with it, and the parent's partitions, whatever their names. Not
# to_regclass: behind a wait for a lock it may answer from a cache that is older than the wait.
RELATIONS = """
WITH parent AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = :name
)
SELECT c.relname::text AS name, n.nspname::text AS schema, c.relkind::text AS kind,
       coalesce(p.parent = (SELECT oid FROM parent), false) AS is_attached,
       c.relispartition AND p.parent IS DISTINCT FROM (SELECT oid FROM parent) AS is_elsewhere,
       coalesce(p.is_pending, false) AS is_pending, coalesce(p.is_default, false) AS is_default, p.first, p.last,
       obj_description(c.oid, 'pg_class') AS comment,
       CASE WHEN c.oid = (SELECT oid FROM parent) THEN (
           SELECT a.attname::text FROM pg_partitioned_table k
           JOIN pg_attribute a ON a.attrelid = k.partrelid AND a.attnum = k.partattrs[0]
           WHERE k.partrelid = c.oid AND k.partstrat = 'r' AND k.partnatts = 1)
       END AS key,
       CASE WHEN CAST(:with_columns AS boolean) AND c.relkind = 'r' THEN ARRAY(
           SELECT ARRAY[a.attname::text, format_type(a.atttypid, a.atttypmod)] FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
       END AS columns
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN {schema}.table_partitions p ON p.partition = c.oid
WHERE p.parent = (SELECT oid FROM parent)
   OR n.nspname = :schema AND (c.relname = :name OR starts_with(c.relname, :name || '_'))
ORDER BY c.relname
"""

KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "c": "composite type",
    "i": "index",
    "I": "index",
}


def relation_parameters(family: TableFamily) -> dict[str, Any]:
    """What RELATIONS asks for."""
    with_columns = family.summary is not None and not family.partitioned
    return {"schema": family.schema, "name": family.name, "with_columns": with_columns}


def found_from(family: TableFamily, rows: Sequence[Any], kept: Mapping[date, str]) -> Found:
    """The rows of RELATIONS as a value."""
    parent = next((row for row in rows if (row.schema, row.name) == (family.schema, family.name)), None)
    tables = tuple(
        FoundTable(
            name=row.name,
            schema=row.schema,
            kind=KINDS.get(row.kind, "relation"),
            is_attached=row.is_attached,
            is_elsewhere=row.is_elsewhere,
            is_pending=row.is_pending and row.is_attached,
            is_default=row.is_default,
            first=row.first if row.is_attached else None,
            last=row.last if row.is_attached else None,
            comment=row.comment,
            columns=tuple((name, kind) for name, kind in row.columns or ()),
        )
        for row in rows
        if row is not parent
    )
    return Found(
        tables,
        parent_kind=None if parent is None else KINDS.get(parent.kind, "relation"),
        key=None if parent is None else parent.key,
        kept=kept,
    )

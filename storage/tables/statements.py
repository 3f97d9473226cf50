"""The SQL of each step on a family's tables: a pure function, so that a rehearsal prints what an execution runs.

Names come from the catalog or are plain identifiers, and are quoted; instants and comments are our own words. Column
types and aggregates are SQL by design, from code (`domain.table_family`).

Nothing waits for a lock longer than LOCK_TIMEOUT: whoever waits for an exclusive one has everybody queue behind him.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler_core.domain.tables.family import Summary, TableFamily
from scheduler_core.domain.tables.steps import (
    CONCURRENTLY,
    AttachDay,
    CreateDay,
    CreateParent,
    Detach,
    Drop,
    FoundTable,
    Step,
    SumUp,
    day_bounds,
    leaving,
    month_bounds,
    record_of,
)
from scheduler_core.storage.postgres.keys import advisory_key

LOCK_TIMEOUT = "500ms"


@dataclass(frozen=True, slots=True)
class Block:
    """Statements that belong together. `alone`: each is its own transaction, as DETACH CONCURRENTLY must be; there the
    family's lock is not taken: Postgres itself refuses a second one, and a lock of a session outlives its caller
    behind a pooler.
    """

    statements: tuple[str, ...]
    alone: bool = False

    def script(self, family: TableFamily) -> list[str]:
        """The whole as psql takes it, guards and all."""
        if self.alone:
            return [f"SET lock_timeout = '{LOCK_TIMEOUT}'", *self.statements, "RESET lock_timeout"]
        return ["BEGIN", *guards(family), *self.statements, "COMMIT"]


def guards(family: TableFamily) -> tuple[str, str]:
    """What a transaction begins with: no long wait, and one caller at a time."""
    return f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'", f"SELECT pg_advisory_xact_lock({guard_key(family)})"


def guard_key(family: TableFamily) -> int:
    """Of the advisory lock that keeps a family to one caller at a time."""
    return advisory_key("table", family.schema, family.name)


def block_of(step: Step) -> Block:
    """What a step runs."""
    match step:
        case CreateParent():
            return Block((_create_parent(step.family),))
        case CreateDay():
            return Block(tuple(_create_day(step)))
        case AttachDay():
            return Block(tuple(_attach_day(step)))
        case SumUp():
            return Block(tuple(_sum_up(step)))
        case Detach():
            return _detach(step)
        case Drop():
            return Block((f"DROP TABLE {_name(step.table)}",))


def _create_parent(family: TableFamily) -> str:
    parent = FoundTable(family.name, family.schema)
    return f"CREATE TABLE {_name(parent)} ({_columns(family)}) PARTITION BY RANGE ({quoted(family.time_column or '')})"


def _create_day(step: CreateDay) -> list[str]:
    table = _name(step.table)
    if not step.family.partitioned:
        return [f"CREATE TABLE {table} ({_columns(step.family)})"]
    # CREATE, then ATTACH: PARTITION OF would lock the parent against every row. A partition takes its identity
    # columns from its parent, and may bring none of its own.
    return [f"CREATE TABLE {table} (LIKE {_parent(step.family)} INCLUDING ALL EXCLUDING IDENTITY)", _attach(step)]


def _attach_day(step: AttachDay) -> list[str]:
    """For a table that may hold rows: checked beforehand, so that ATTACH has nothing to scan."""
    table, column = _name(step.table), quoted(step.family.time_column or "")
    first, last = (instant.isoformat() for instant in day_bounds(step.day))
    check = quoted(f"{step.family.daily_table(step.day)}_day")
    return [
        f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}",
        f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL AND {column} >= '{first}' "
        f"AND {column} < '{last}')",
        _attach(step),
        f"ALTER TABLE {table} DROP CONSTRAINT {check}",
        f"COMMENT ON TABLE {table} IS NULL",
    ]


def _attach(step: CreateDay | AttachDay) -> str:
    first, last = (instant.isoformat() for instant in day_bounds(step.day))
    return (
        f"ALTER TABLE {_parent(step.family)} ATTACH PARTITION {_name(step.table)} "
        f"FOR VALUES FROM ('{first}') TO ('{last}')"
    )


def _detach(step: Detach) -> Block:
    table = _name(step.table)
    mark = (f"COMMENT ON TABLE {table} IS '{leaving(step.day)}'",) if step.to_drop else ()
    detach = f"ALTER TABLE {_parent(step.family)} DETACH PARTITION {table} {step.mode}".rstrip()
    return Block((*mark, detach), alone=step.mode == CONCURRENTLY)


def _sum_up(step: SumUp) -> list[str]:
    summary = step.family.summary
    assert isinstance(summary, Summary)
    table = _name(step.table)
    by = [quoted(column) for column in summary.by]
    names = [*by, *(quoted(column) for column in summary.columns)]
    values = [*by, *(f"{aggregate} AS {quoted(column)}" for column, aggregate in summary.columns.items())]
    query = f"SELECT {', '.join(values)} FROM {_source(step)} AS days"
    if by:
        query += f" GROUP BY {', '.join(by)}"
    return [
        f"CREATE TABLE IF NOT EXISTS {table} AS {query} WITH NO DATA",
        _identify(table),
        # One transaction: readers see the former sums until they see these.
        f"DELETE FROM {table}",
        f"INSERT INTO {table} ({', '.join(names)}) {query}",
        f"COMMENT ON TABLE {table} IS '{record_of(step)}'",
    ]


def _identify(table: str) -> str:
    """Have the rows of a summary told apart by all their columns: under a publication, Postgres refuses the DELETE of
    rows that nothing names. Not where it is so already: readers would wait for it.
    """
    return (
        f"DO $$ BEGIN IF (SELECT relreplident FROM pg_class WHERE oid = '{table}'::regclass) <> 'f' "
        f"THEN ALTER TABLE {table} REPLICA IDENTITY FULL; END IF; END $$"
    )


def _source(step: SumUp) -> str:
    """The rows of the month. Partitions have their parent's columns; a day of its own may have older ones."""
    if step.family.partitioned:
        first, last = (instant.isoformat() for instant in month_bounds(step.month))
        column = quoted(step.family.time_column or "")
        return f"(SELECT * FROM {_parent(step.family)} WHERE {column} >= '{first}' AND {column} < '{last}')"
    types = {name: kind for source in step.sources for name, kind in source.columns}
    days = []
    for source in step.sources:
        own = {name for name, _ in source.columns}
        values = [quoted(c) if c in own else f"NULL::{kind} AS {quoted(c)}" for c, kind in types.items()]
        days.append(f"SELECT {', '.join(values)} FROM {_name(source)}")
    return f"({' UNION ALL '.join(days)})"


def _columns(family: TableFamily) -> str:
    if family.like is not None:
        return f"LIKE {quoted(family.schema)}.{quoted(family.like)} INCLUDING ALL"
    return ", ".join(f"{quoted(column)} {kind}" for column, kind in (family.columns or {}).items())


def _parent(family: TableFamily) -> str:
    return f"{quoted(family.schema)}.{quoted(family.name)}"


def _name(table: FoundTable) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def quoted(name: str) -> str:
    """A name as an identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def script_of(steps: Sequence[tuple[TableFamily, Block]]) -> str:
    """Statements for psql, in order."""
    return "\n".join(f"{line};" for family, block in steps for line in block.script(family))

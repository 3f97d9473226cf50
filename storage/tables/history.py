"""The scheduler's own history as a table family: what sets `runs` and `attempts` apart from a user's tables.

A day of theirs goes only when all of its runs have ended, and its sums are stored in the transaction that drops it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from typing import Any

from scheduler_core.domain.errors import SchemaError
from scheduler_core.domain.tables.family import TableFamily
from scheduler_core.domain.tables.steps import (
    AttachDay,
    CreateDay,
    Detach,
    Drop,
    Found,
    FoundTable,
    Step,
    read_leaving,
)
from scheduler_core.storage.postgres.schema import PARTITIONED
from scheduler_core.storage.tables.statements import Block, block_of, quoted

Fetch = Callable[[str, dict[str, Any]], Awaitable[Sequence[Any]]]

RUNS = "runs"

# Served by the index on unfinished runs, of the partitions concerned.
UNFINISHED = """
SELECT (scheduled_for AT TIME ZONE 'UTC')::date AS day, count(*) AS runs, min(job_id) AS job_id
FROM {schema}.runs
WHERE status IN {unfinished}
  AND scheduled_for < ((now() AT TIME ZONE 'UTC')::date - CAST(:history_days AS integer))::timestamp AT TIME ZONE 'UTC'
GROUP BY day
"""

UNFINISHED_IN = """
SELECT count(*) AS runs, min(job_id) AS job_id FROM {table} WHERE status IN {unfinished}
"""

# The aggregates are those of the view `daily_summary` (tests hold them together). A day that came back after it was
# dropped adds to what is stored of it; what was stored ahead of the drop is replaced.
STORE_DAY = """
INSERT INTO {schema}.daily_summaries AS s (day, job_id, runs, succeeded, failed, skipped, missed, p50_duration,
                                           p95_duration, p95_lateness, is_final)
SELECT '{day}'::date, job_id,
       coalesce(sum(CASE WHEN reason IN ('calendar', 'no_calendar') THEN coalesce(missed_count, 1) ELSE 1 END)
                FILTER (WHERE status <> 'missed'), 0),
       count(*) FILTER (WHERE status = 'succeeded'),
       count(*) FILTER (WHERE status = 'failed'),
       coalesce(sum(CASE WHEN reason IN ('calendar', 'no_calendar') THEN coalesce(missed_count, 1) ELSE 1 END)
                FILTER (WHERE status = 'skipped'), 0),
       coalesce(sum(CASE WHEN status = 'missed' THEN missed_count
                         WHEN reason IN ('calendar', 'no_calendar') THEN 0
                         ELSE missed_count - 1 END), 0),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY finished_at - started_at),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY finished_at - started_at),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY started_at - scheduled_for) FILTER (WHERE origin <> 'backfill'),
       {is_final}
FROM {table}
GROUP BY job_id
ON CONFLICT (day, job_id) DO UPDATE
SET runs = excluded.runs + CASE WHEN s.is_final THEN s.runs ELSE 0 END,
    succeeded = excluded.succeeded + CASE WHEN s.is_final THEN s.succeeded ELSE 0 END,
    failed = excluded.failed + CASE WHEN s.is_final THEN s.failed ELSE 0 END,
    skipped = excluded.skipped + CASE WHEN s.is_final THEN s.skipped ELSE 0 END,
    missed = excluded.missed + CASE WHEN s.is_final THEN s.missed ELSE 0 END,
    p50_duration = CASE WHEN s.is_final AND s.runs > excluded.runs THEN s.p50_duration
                        ELSE excluded.p50_duration END,
    p95_duration = CASE WHEN s.is_final AND s.runs > excluded.runs THEN s.p95_duration
                        ELSE excluded.p95_duration END,
    p95_lateness = CASE WHEN s.is_final AND s.runs > excluded.runs THEN s.p95_lateness
                        ELSE excluded.p95_lateness END,
    is_final = excluded.is_final
WHERE excluded.is_final OR NOT s.is_final
"""

# Rows of a job that had some when the day was stored ahead, and has none any more.
FORGET_DRAFT = "DELETE FROM {schema}.daily_summaries WHERE day = '{day}' AND NOT is_final"

# Postgres does both with the rights of the schema's owner, for whoever may have it done: a replica's role owns nothing.
CREATE_DAY = "SELECT {schema}.create_history_day('{parent}', '{table}', '{day}')"
FIT_OUT_HISTORY = "SELECT {schema}.fit_out_history()"


class HistoryFamily(TableFamily):
    """A day of the history, with the day before: its rows may come late."""

    def days_to_create(self, today: date) -> list[date]:
        """Yesterday's, today's and those ahead."""
        return [today - timedelta(days=1), *super().days_to_create(today)]


def families(schema: str, history_days: int | None) -> tuple[TableFamily, ...]:
    """`runs` and `attempts`: their days are partitions, and the parents are there already."""
    return tuple(
        HistoryFamily(
            table,
            like=table,
            schema=schema,
            partitioned=True,
            time_column="scheduled_for",
            retention_days=history_days,
        )
        for table in PARTITIONED
    )


def block_of_history(step: Step) -> Block:
    """What a step on the history runs."""
    block = block_of(step)
    names = {"schema": quoted(step.family.schema), "parent": step.family.name, "table": step.table.name}
    if isinstance(step, CreateDay):
        return Block((CREATE_DAY.format(**names, day=step.day.isoformat()),))
    if isinstance(step, AttachDay):
        return Block((*block.statements, FIT_OUT_HISTORY.format(**names)))
    return Block((*_sums_before(step), *block.statements), block.alone)


def _sums_before(step: Step) -> list[str]:
    """What a day of `runs` needs before it is detached, and in the transaction that drops it.

    Stored before the day is detached, so that the view `daily_summary` never misses it; and once more, for good, when
    nobody can change a row of it any more.
    """
    if step.family.name != RUNS or not (isinstance(step, Drop) or (isinstance(step, Detach) and step.to_drop)):
        return []
    if step.day is None:
        return []
    names = {
        "schema": quoted(step.family.schema),
        "table": f"{quoted(step.table.schema)}.{quoted(step.table.name)}",
        "day": step.day.isoformat(),
        "is_final": "true" if isinstance(step, Drop) else "false",
    }
    return [text.format(**names).strip() for text in (FORGET_DRAFT, STORE_DAY)]


async def kept_days(fetch: Fetch, family: TableFamily, found: Found) -> dict[date, str]:
    """Days past `history_days` that must stay, because runs of theirs have not ended: dropped, such a run would
    neither fire nor be accounted for.
    """
    if family.retention_days is None:
        return {}
    kept = {row.day: _why(row) for row in await fetch(UNFINISHED, {"history_days": family.retention_days})}
    for table in on_their_way_out(found) if family.name == RUNS else ():
        day = read_leaving(table.comment)
        name = f"{quoted(table.schema)}.{quoted(table.name)}"
        try:
            rows = await fetch(UNFINISHED_IN.replace("{table}", name), {})
        except SchemaError:
            # Somebody else has dropped it since the catalog was read; under the lock nobody can.
            continue
        if day is not None and rows[0].runs:
            kept[day] = _why(rows[0])
    return kept


def on_their_way_out(found: Found) -> list[FoundTable]:
    """Tables that were detached to be dropped and are still there."""
    return [t for t in found.tables if not t.is_attached and t.kind == "table" and read_leaving(t.comment)]


def _why(row: Any) -> str:
    return f"{row.runs} runs of it have not ended (the first of job {row.job_id})"

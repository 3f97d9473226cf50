"""Definitions and cursors: storing what code declares, changing it, reading it."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import Any

from scheduler_core.domain.access.actor import Actor
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.jobs.abilities import Abilities
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.jobs.rows import read_definition_and_schedule
from scheduler_core.domain.jobs.status import JobStatus
from scheduler_core.domain.planning.planning import Missed, Plan, StoredJob
from scheduler_core.domain.schedule.zone import is_zone
from scheduler_core.ports.jobs import Declared
from scheduler_core.ports.runs import InvalidRow, Settlement
from scheduler_core.storage.jobs.calendars import CalendarStore
from scheduler_core.storage.jobs.changes import TELL, definition_at, telling
from scheduler_core.storage.jobs.declarations import DECLARE, DEFINITION, declaration
from scheduler_core.storage.postgres.database import Database, Row
from scheduler_core.storage.postgres.errors import MissingPartitionError, UnreadableRowError
from scheduler_core.storage.postgres.keys import NUDGE_CHANNEL, new_run_id
from scheduler_core.storage.postgres.partitions import Partitions

_INSTANTS = (
    *("start_at", "end_at", "declared_since", "anchor", "next_run", "due_at"),
    *("paused_at", "paused_until", "auto_disabled_at", "finished_at"),
)
"""The driver gives infinity as an instant without a time zone."""

_STATE = tuple(item.name for item in fields(StoredJob) if item.name not in ("definition", "schedule", "calendars"))
"""The columns that are known of a job beside its definition: version, anchor, and the others in their order."""

_get_instants = itemgetter(*_INSTANTS)
_get_state = itemgetter(*_STATE)

_CHANGEABLE = (
    *(name for name in DEFINITION if name != "job_id"),
    "digest",
    "schedule_digest",
    "declared_by",
    "declared_since",
    "set_aside",
    "application",
    "added_at_run_time",
    "anchor",
    "paused_at",
    "paused_until",
    "paused_by",
    "pause_note",
    "auto_disabled_at",
    "finished_at",
    "consecutive_failures",
)

_BATCH = 1_000
"""Jobs of one statement: some milliseconds of work, here and there, so that neither side keeps others waiting."""

_AT_ONCE = 2
"""Statements under way: while Postgres inserts a batch, the next one is computed and sent."""

# Counters, and what is told of a job, are nobody's business here: each column that Python makes values of costs.
LOAD = f"""
SELECT {", ".join(dict.fromkeys((*DEFINITION, *_STATE)))} FROM {{schema}}.jobs
WHERE job_id = ANY(CAST(:job_ids AS text[]))
"""

VERSION = """
SELECT version FROM {schema}.jobs WHERE job_id = :job_id
"""

# The one verb of operators and of code that changes a definition. The cursor, the version and what is accounted
# for move in one statement or not at all: a claim that came in between has moved `next_run`, another operator
# has raised `version`; either way nothing is found here, and the caller reads again.
SETTLE = f"""
WITH held AS (
    SELECT * FROM {{schema}}.jobs
    WHERE job_id = :job_id AND version = :version AND next_run IS NOT DISTINCT FROM CAST(:cursor AS timestamptz)
    FOR UPDATE
), changed AS (
    UPDATE {{schema}}.jobs AS j
    SET ({", ".join(_CHANGEABLE)}, next_run, due_at, version) = (
        SELECT {", ".join("c." + name for name in _CHANGEABLE)},
               CAST(:next_run AS timestamptz), CAST(:due_at AS timestamptz), h.version + 1
        FROM held h, jsonb_populate_record(CAST(h AS {{schema}}.jobs), CAST(:changes AS jsonb)) AS c)
    WHERE j.job_id IN (SELECT job_id FROM held) AND NOT :remove
    RETURNING j.job_id
), removed AS (
    DELETE FROM {{schema}}.jobs WHERE job_id IN (SELECT job_id FROM held) AND :remove
    RETURNING job_id
), accounted AS (
    INSERT INTO {{schema}}.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, reason,
                                 definition_version, missed_count, missed_from, finished_at)
    SELECT a.run_id, h.job_id, h.name, a.scheduled_for, a.due_at, 'schedule', a.status, a.reason, h.version,
           a.missed_count, a.missed_from, CASE WHEN a.status IN ('missed', 'skipped') THEN clock_timestamp() END
    FROM held h, unnest(CAST(:run_ids AS uuid[]), CAST(:scheduled_fors AS timestamptz[]),
                        CAST(:due_ats AS timestamptz[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]),
                        CAST(:missed_counts AS bigint[]), CAST(:missed_froms AS timestamptz[]))
         AS a (run_id, scheduled_for, due_at, status, reason, missed_count, missed_from)
    -- As in the claim: an occurrence that has its row (somebody backfilled it) is left alone, and no count gets lost.
    ON CONFLICT (job_id, scheduled_for) DO UPDATE
    SET missed_count = excluded.missed_count, missed_from = excluded.missed_from
    WHERE excluded.missed_count IS NOT NULL AND {{schema}}.runs.missed_count IS NULL
), nudged AS (
    SELECT pg_notify('{NUDGE_CHANNEL}', :schema || ':' || job_id) FROM held
)
SELECT (SELECT count(*) FROM changed) + (SELECT count(*) FROM removed) AS settled,
       (SELECT count(*) FROM nudged) AS nudged,
       {TELL}
"""

ANNOUNCE = """
UPDATE {schema}.instances SET application = :application, callbacks = :callbacks, packages = :packages, allows = :allows
WHERE instance_id = :instance_id
"""

STATES = """
SELECT job_id, name, enabled AND auto_disabled_at IS NULL AND finished_at IS NULL AS enabled,
       paused_at IS NOT NULL AND (paused_until IS NULL OR paused_until > clock_timestamp()) AS paused,
       next_run, last_run, run_count, error_count, consecutive_failures,
       EXISTS (SELECT FROM {schema}.runs r WHERE r.job_id = j.job_id AND r.status = 'running') AS running,
       last_status, last_error
FROM {schema}.jobs j
"""

# Two statements: one plan that served both would read every job to find one.
ALL_STATES = STATES + "ORDER BY job_id"
STATES_OF = STATES + "WHERE job_id = ANY(CAST(:job_ids AS text[])) ORDER BY job_id"


class JobStore:
    """The table `jobs`, and the run rows that a change of a job accounts for."""

    def __init__(self, database: Database, partitions: Partitions) -> None:
        self._database = database
        self._partitions = partitions
        self._calendars = CalendarStore(database)

    async def now(self) -> datetime:
        """The database's time: it says what is due."""
        return await self._database.now()

    async def declare(self, jobs: Iterable[StoredJob], instance_id: str, actor: Actor) -> Declared:
        """Insert the jobs that are not there yet, in batches of a transaction each.

        Parameters: jobs, definitions with their first cursors; they are made while Postgres works, if they come from a
        generator.
        """
        added: list[StoredJob] = []
        changed: list[str] = []
        inserting: deque[asyncio.Task[None]] = deque()

        async def insert(batch: Sequence[StoredJob]) -> None:
            told = telling(actor, at=batch[0].anchor)
            given = {
                **declaration(batch),
                **told,
                "instance_id": instance_id,
                "schema": self._database.schema,
                "added_at_run_time": batch[0].added_at_run_time,
            }
            standing = {row.job_id: row.is_same for row in await self._database.fetch(DECLARE, given) if row.job_id}
            added.extend(job for job in batch if job.job_id not in standing)
            changed.extend(job_id for job_id, is_same in standing.items() if not is_same)

        left = iter(jobs)
        try:
            while batch := list(islice(left, _BATCH)):
                if len(inserting) == _AT_ONCE:
                    await inserting.popleft()
                inserting.append(asyncio.create_task(insert(batch), name="scheduler declares jobs"))
                await asyncio.sleep(0)
            while inserting:
                await inserting.popleft()
        finally:
            # After an error too, nothing is under way any more when it is told.
            await asyncio.gather(*inserting, return_exceptions=True)
        return Declared(added, changed)

    async def load(self, job_ids: Iterable[str]) -> list[StoredJob | InvalidRow]:
        """The jobs with these ids, as far as they exist, and their calendars; a row that can't be read comes as
        InvalidRow.
        """
        rows, invalid = await self._fetch_readable(LOAD, list(job_ids))
        named = {name for row in rows for name in row.calendars}
        stored = await self._calendars.load(named) if named else {}
        calendars = {name: found.calendar for name, found in stored.items()}
        return [*invalid, *(stored_job(row, calendars) for row in rows)]

    async def _fetch_readable(self, statement: str, job_ids: Sequence[str]) -> tuple[list[Row], list[InvalidRow]]:
        """The rows of these jobs, and those that hold what Python can't: one such must not hide the others."""
        try:
            return list(await self._database.fetch(statement, {"job_ids": job_ids})), []
        except UnreadableRowError as error:
            if len(job_ids) == 1:
                versions = await self._database.fetch(VERSION, {"job_id": job_ids[0]})
                return [], [InvalidRow(job_ids[0], row.version, str(error)) for row in versions]
        middle = len(job_ids) // 2
        rows, invalid = await self._fetch_readable(statement, job_ids[:middle])
        more_rows, more_invalid = await self._fetch_readable(statement, job_ids[middle:])
        return rows + more_rows, invalid + more_invalid

    async def definition_at(self, job_id: str, version: int) -> JobDefinition | None:
        """What the job's definition was from this version on; None if the log has no such version."""
        return await definition_at(self._database, job_id, version)

    async def settle(self, settlement: Settlement, actor: Actor, at: datetime) -> bool:
        """Account for the old definition's occurrences up to `at` and change the job, in one statement.

        Returns False, and nothing happened, if the job has moved or changed since it was read.
        """
        plan = settlement.plan
        parameters = {
            "job_id": plan.job.job_id,
            "version": plan.job.version,
            "cursor": plan.job.next_run,
            "next_run": plan.next_run,
            "due_at": plan.next_due_at,
            "changes": _to_json(dict(settlement.changes)),
            "remove": settlement.remove,
            "schema": self._database.schema,
            **accounting(plan, "pending"),
            **telling(actor, at=at, reverts_to=settlement.reverts_to),
        }
        try:
            row = await self._database.fetch_one(SETTLE, parameters)
        except MissingPartitionError:
            await self._partitions.ensure(_instants(plan))
            row = await self._database.fetch_one(SETTLE, parameters)
        return row is not None and row.settled == 1

    async def states(self, job_ids: Iterable[str] | None) -> list[JobStatus]:
        """Counters and state of these jobs, or of all (None). Raises UnreadableRowError only for all."""
        rows: Sequence[Row]
        if job_ids is None:
            rows = await self._database.fetch(ALL_STATES)
        else:
            rows, _ = await self._fetch_readable(STATES_OF, list(job_ids))
        return [JobStatus(**row) for row in rows]

    async def announce(self, instance_id: str, abilities: Abilities) -> None:
        """Say what a replica can call."""
        await self._database.fetch(ANNOUNCE, {"instance_id": instance_id, **asdict(abilities)})


def _instants(plan: Plan) -> list[datetime]:
    return [*(fire.scheduled_for for fire in plan.fires), *(missed.last for missed in plan.missed)]


def accounting(plan: Plan, fire_status: str) -> dict[str, list[Any]]:
    """A plan's fires and counts as the parallel arrays that SETTLE unnests."""
    rows: list[tuple[Any, ...]] = [
        (new_run_id(f.scheduled_for), f.scheduled_for, f.due_at, fire_status, None, None, None) for f in plan.fires
    ]
    rows += [(new_run_id(m.last), m.last, m.last, m.status.value, m.reason, *count_of(m)) for m in plan.missed]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 7
    names = (
        "run_ids",
        "scheduled_fors",
        "due_ats",
        "statuses",
        "reasons",
        "missed_counts",
        "missed_froms",
    )
    return {name: list(column) for name, column in zip(names, columns, strict=True)}


def count_of(missed: Missed) -> tuple[int | None, datetime | None]:
    """`missed_count` and `missed_from` of the row; NULL for a single skipped occurrence, whose row is its own."""
    return (None, None) if missed.stands_for_one else (missed.count, missed.first)


def stored_job(row: Row, calendars: Mapping[str, Calendar]) -> StoredJob | InvalidRow:
    """A row of `jobs` as the engine knows it. Nothing in a row is trusted: it may have been edited by hand.

    Parameters: calendars, at least those that the row names, by name, as far as they exist.
    """
    values = row
    try:
        for instant in filter(None, _get_instants(values)):
            if instant.tzinfo is None:
                raise ValueError(f"{next(name for name in _INSTANTS if values[name] is instant)} is infinite")
        version, anchor, *state = _get_state(values)
        definition, schedule = read_definition_and_schedule(values, anchor)
        named = definition.calendars
        found = tuple(calendars[name] for name in named if name in calendars) if named else ()
        parts = (definition, version, anchor, schedule, *state, found)
        return StoredJob(*parts)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this row's alone (a time zone may be a folder)
        zone = values["timezone"]
        unknown_zone = None if is_zone(zone) else str(zone)
        return InvalidRow(values["job_id"], values["version"], f"{type(error).__name__}: {error}", unknown_zone)


def _to_json(value: Any) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} can't be stored")

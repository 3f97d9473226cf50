"""How code's declarations reach Postgres: one statement for a batch of jobs that may be there already.

Jobs come as parallel arrays. What many of them have in common (`SHARED_FIELDS`) is sent once, and each job says which.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from scheduler_core.domain.jobs.job import SHARED_FIELDS, JobDefinition, shared_json
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.storage.jobs.changes import TELL
from scheduler_core.storage.postgres.arrays import sparse
from scheduler_core.storage.postgres.keys import NUDGE_CHANNEL

DEFINITION = tuple(field.name for field in fields(JobDefinition))

_ARRAYS = {
    "job_id": "text",
    "name": "text",
    "schedule_value": "jsonb",
    "start_at": "timestamptz",
    "end_at": "timestamptz",
    "args": "jsonb",
    "kwargs": "jsonb",
    "digest": "text",
    "schedule_digest": "text",
    "anchor": "timestamptz",
    "next_run": "timestamptz",
    "due_at": "timestamptz",
    "application": "text",
    "nth_shared": "integer",
}
"""A job's own columns with their types, and which of the shared ones are its."""


def _sent_as(kind: str) -> str:
    # The driver takes an array of jsonb apart in Python; text goes as it is.
    return "text" if kind == "jsonb" else kind


# Safe for any number of replicas at once, and for several of these statements of one: rows go in by job_id order, an
# existing row is left alone, and only one of several inserters wins it. The losers are told whether what stands
# there is the same: code's own definition, that of this very program or of one that lives and means the same by the
# callback's name. Each job looks its shared columns up: the engine's sessions know no hash join.
DECLARE = rf"""
WITH given AS (
    SELECT {", ".join(f"CAST(own.{name} AS {kind}) AS {name}" for name, kind in _ARRAYS.items())},
           {", ".join("shared." + name for name in SHARED_FIELDS)}
    FROM unnest({", ".join(f"CAST(:{name} AS {_sent_as(kind)}[])" for name, kind in _ARRAYS.items())})
         AS own ({", ".join(_ARRAYS)}),
         jsonb_populate_record(CAST(NULL AS {{schema}}.jobs), CAST(:shared AS jsonb) -> own.nth_shared) AS shared
), added AS (
    INSERT INTO {{schema}}.jobs ({", ".join(DEFINITION)}, digest, schedule_digest,
                                 anchor, next_run, due_at, declared_by, declared_since, application, added_at_run_time)
    SELECT {", ".join(DEFINITION)}, digest, schedule_digest, anchor, next_run, due_at, :instance_id,
           (SELECT started_at FROM {{schema}}.instances WHERE instance_id = :instance_id), application,
           :added_at_run_time
    FROM given
    ORDER BY job_id COLLATE "C"
    ON CONFLICT (job_id) DO NOTHING
    RETURNING job_id
), living AS MATERIALIZED (
    SELECT DISTINCT application FROM {{schema}}.instances i
    WHERE i.ended_at IS NULL AND {{schema}}.is_alive(i)
), nudged AS (
    SELECT pg_notify('{NUDGE_CHANNEL}', :schema || ':') WHERE EXISTS (SELECT FROM added)
)
SELECT always.sent, g.job_id,
       coalesce(j.digest = g.digest AND j.set_aside IS NULL AND (
           g.application IS NULL
           OR (j.application = g.application OR j.callback NOT LIKE '\_\_main\_\_:%' AND j.callback NOT LIKE '%<%'
               AND j.application IN (SELECT application FROM living))
              AND (:added_at_run_time OR NOT coalesce(j.added_at_run_time, false))), false) AS is_same
FROM (SELECT (SELECT count(*) FROM nudged) AS sent, {TELL}) AS always
LEFT JOIN (given g LEFT JOIN {{schema}}.jobs j USING (job_id)) ON g.job_id NOT IN (SELECT job_id FROM added)
"""


def declaration(jobs: Sequence[StoredJob]) -> dict[str, Any]:
    """The jobs as parameters of DECLARE."""
    definitions = [job.definition for job in jobs]
    nth: dict[tuple[Any, ...], int] = {}
    arrays = {
        "job_id": [d.job_id for d in definitions],
        "name": [d.name for d in definitions],
        "schedule_value": [None if d.schedule_value is None else _json(d.schedule_value) for d in definitions],
        "start_at": sparse(d.start_at for d in definitions),
        "end_at": sparse(d.end_at for d in definitions),
        "args": [_json(d.args) if d.args else "[]" for d in definitions],
        "kwargs": [_json(d.kwargs) if d.kwargs else "{}" for d in definitions],
        "digest": [d.digest for d in definitions],
        "schedule_digest": [d.schedule_digest for d in definitions],
        "anchor": [job.anchor for job in jobs],
        "next_run": [job.next_run for job in jobs],
        "due_at": [job.due_at for job in jobs],
        "application": sparse(job.application for job in jobs),
        "nth_shared": [nth.setdefault(d.shared, len(nth)) for d in definitions],
    }
    return {**arrays, "shared": f"[{','.join(map(shared_json, nth))}]"}


_json = json.JSONEncoder(separators=(",", ":")).encode

"""A job's definition read from the columns of its row. Nothing there is trusted: it may have been edited by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from scheduler_core.domain.errors import InvalidJobError
from scheduler_core.domain.jobs.checks import CHECKS, check_job, find_jitter_problem
from scheduler_core.domain.jobs.fields import (
    check_args,
    check_bound,
    check_kwargs,
    check_name,
    check_text,
    check_zone,
    stored_word,
)
from scheduler_core.domain.jobs.job import (
    ANY_ANCHOR,
    DEFINITION_FIELDS,
    OWN_FIELDS,
    POLICY_DEFAULTS,
    SHARED_FIELDS,
    JobDefinition,
)
from scheduler_core.domain.jobs.policies import Delivery
from scheduler_core.domain.schedule import Schedule, normalize_value, parse_instant, parse_schedule, value_of
from scheduler_core.domain.schedule.base import from_micros
from scheduler_core.domain.wording import shown

# The name of a callback as it is stored: a lambda's can't be imported, so it is no `module:qualname`. As long as
# any that code may give.
_STORED_CHECKS = {
    **CHECKS,
    "callback": lambda value: check_text(value, 1_000),
    # SQL reads it as well, to the letter: recovery must not deliver again what is to be called at most once.
    "delivery": stored_word(Delivery),
}

_SHARED_CHECKS = {**_STORED_CHECKS, "timezone": check_zone}

_LISTS = ("calendars", "tags")
_SHARED_COLUMNS = (*_LISTS, *(name for name in SHARED_FIELDS if name not in _LISTS))

_get_own_columns = itemgetter(*OWN_FIELDS)
_get_shared_columns = itemgetter(*_SHARED_COLUMNS)


def read_definition(columns: Mapping[str, Any]) -> JobDefinition:
    """The definition in the columns of a row, or in a document of the log of changes, checked like any input.

    A policy that is not there has its default: the document is older than the policy, and nobody chose otherwise.
    Raises InvalidJobError if a value is not acceptable or another column is missing.
    """
    return read_definition_and_schedule(columns, ANY_ANCHOR)[0]


def read_definition_and_schedule(columns: Mapping[str, Any], anchor: datetime) -> tuple[JobDefinition, Schedule]:
    """The same, and the schedule of the job that was first stored at `anchor`, an aware instant."""
    try:
        return _read_row(columns, anchor)
    except Exception:  # noqa: BLE001 - whatever a value's own methods raise
        # The whole check says it well.
        definition = _check_row(columns)
    return definition, definition.schedule(anchor)


def _read_row(columns: Mapping[str, Any], anchor: datetime) -> tuple[JobDefinition, Schedule]:
    """A row that is in order: what many jobs share is checked once for all of them, and the schedule is read once.

    Raises anything for a row that is not, which `_check_row` says well, and for one that only `_check_row` can read.
    """
    calendars, tags, *policies = _get_shared_columns(columns)
    shared = _check_shared(
        tuple(calendars) if isinstance(calendars, list) else calendars,
        tuple(tags) if isinstance(tags, list) else tags,
        *policies,
    )
    job_id, name, value, start_at, end_at, args, kwargs = _get_own_columns(columns)
    kind, zone = shared["schedule_type"], shared["timezone"]
    schedule = parse_schedule(
        kind,
        value,
        timezone=zone,
        anchor=anchor,
        start_at=None if start_at is None else check_bound(start_at),
        end_at=None if end_at is None else check_bound(end_at),
        dst=shared["dst"],
    )
    if shared["jitter"] and (problem := find_jitter_problem(schedule, shared["jitter"])):
        raise InvalidJobError(problem)
    definition = JobDefinition(
        job_id=check_name(job_id),
        name=check_text(name),
        schedule_value=value_of(schedule, kind, value, zone),
        start_at=None if start_at is None else from_micros(schedule.start),
        end_at=None if end_at is None else from_micros(schedule.end),
        args=check_args(args),
        kwargs=check_kwargs(kwargs),
        **shared,
    )
    return definition, schedule


# With their types: True equals 1 and 1.0, and is not the same in a row.
@lru_cache(maxsize=1_000, typed=True)
def _check_shared(*values: Any) -> dict[str, Any]:
    """The shared columns of a row, in the order of `_SHARED_COLUMNS`, as they are kept. Raises InvalidJobError."""
    return check_job(dict(zip(_SHARED_COLUMNS, values, strict=True)), _SHARED_CHECKS)


def _check_row(columns: Mapping[str, Any]) -> JobDefinition:
    """Any row, field by field: the definition, or all that is wrong with it."""
    columns = {**POLICY_DEFAULTS, **columns}
    missing = [name for name in DEFINITION_FIELDS if name not in columns]
    if missing:
        raise InvalidJobError(f"The job's row lacks {', '.join(missing)}: migrate the schema, or correct the row.")
    values = check_job({name: columns[name] for name in DEFINITION_FIELDS}, _STORED_CHECKS)
    zone = values["timezone"]
    if zone is None:
        raise InvalidJobError(f"The job {shown(values['job_id'])} is stored without a timezone: set the column.")
    values["schedule_value"] = normalize_value(values["schedule_type"], values["schedule_value"], zone)
    for bound in ("start_at", "end_at"):
        values[bound] = None if values[bound] is None else parse_instant(values[bound], zone)
    return JobDefinition(**values)

"""Editing a job: its fields as a form, and what to do when somebody else was quicker.

The form carries the version that it was filled from. If another stands when it comes back, nothing is changed and
nothing that was typed is lost: the page shows what the other one changed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from scheduler_core.container import Container
from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.errors import InvalidJobError, JobConflictError, JobNotFoundError, SchedulerError
from scheduler_core.domain.jobs.checks import CHECKS
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.jobs.job_policies import POLICIES, Group, Kind, Policy
from scheduler_core.domain.jobs.rows import read_definition
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.ports.runs import InvalidRow
from scheduler_core.web.access import Caller
from scheduler_core.web.pages.actions import text_values
from scheduler_core.web.pages.rendering import link_in, render
from scheduler_core.web.pages.routes import PageRoute
from scheduler_core.web.pages.screens import signed_in
from scheduler_core.web.pages.wording import short
from scheduler_core.web.problem import problem_of
from scheduler_core.web.state import state_of

router = APIRouter(route_class=PageRoute)


# What is no policy, and stands at the head of the form.
_HEAD = (
    Policy("name", CHECKS["name"], "Name", Kind.TEXT, Group.WHEN),
    Policy(
        "schedule_type",
        CHECKS["schedule_type"],
        "Schedule",
        Kind.CHOICE,
        Group.WHEN,
        choices=tuple(kind.value for kind in ScheduleType),
    ),
    Policy(
        "schedule_value",
        CHECKS["schedule_value"],
        "Its value",
        Kind.JSON,
        Group.WHEN,
        "30 (seconds), 14:30, */5 * * * *, or an instant",
    ),
)

INPUTS = tuple(one for one in (*_HEAD, *POLICIES) if one.group is not None)
GROUPS = tuple((group.value, [one for one in INPUTS if one.group is group]) for group in Group)
NAMES = tuple(one.name for one in INPUTS)
MOST_CHARACTERS: Mapping[Kind, int] = {Kind.JSON: 2_000, Kind.NAMES: 2_000}
"""Of a field's text; of the kinds that are not named, 200."""


def as_text(definition: JobDefinition) -> dict[str, str]:
    """A definition as the form shows it."""
    return {one.name: _text(one, getattr(definition, one.name)) for one in INPUTS}


def _text(one: Policy, value: Any) -> str:
    if value is None:
        return ""
    if one.kind is Kind.FLAG:
        return "yes" if value else "no"
    if one.kind is Kind.NAMES:
        return ", ".join(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if one.name == "schedule_value" and isinstance(value, list):
        return ", ".join(value)
    if one.kind is Kind.JSON and not isinstance(value, str):
        return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    if one.kind is Kind.NUMBER:
        return f"{value:g}" if isinstance(value, float) else str(value)
    return str(value)


def as_definition(stored: JobDefinition, given: Mapping[str, str]) -> JobDefinition:
    """The definition that a form describes. What it says as the form was filled stays what it was, to the letter.

    Raises InvalidJobError, which names every field that is wrong.
    """
    columns = {item.name: getattr(stored, item.name) for item in fields(JobDefinition)}
    shown = as_text(stored)
    changed = {
        one.name: _read(one, given[one.name].strip()) for one in INPUTS if given[one.name].strip() != shown[one.name]
    }
    return read_definition(columns | changed)


def _read(one: Policy, text: str) -> Any:
    if one.kind is Kind.FLAG:
        return text == "yes"
    if one.choices:
        return text.lower()
    if one.kind is Kind.NAMES:
        return [name.strip() for name in text.split(",") if name.strip()]
    if one.name == "schedule_value":
        return _schedule_value(text)
    if not text:
        return None
    if one.kind in (Kind.JSON, Kind.NUMBER):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidJobError(f"{one.label.lower()} can't be {text[:80]!r}: it is no JSON") from None
    return text


def _schedule_value(text: str) -> Any:
    """Text, or a list of times of day; which of them the schedule's type takes, its check says."""
    times = [part.strip() for part in text.split(",")]
    return times if len(times) > 1 and all(":" in time for time in times) else text or None


async def _stored(container: Container, job_id: str) -> tuple[JobDefinition, int]:
    found = await container.get_storage().jobs.load([job_id]) if job_id else []
    if not found:
        raise JobNotFoundError(f"there is no job {job_id!r}: the list of jobs shows those that exist")
    job = found[0]
    if isinstance(job, InvalidRow):
        raise InvalidJobError(f"the row of job {job_id!r} can't be read ({job.problem}): correct it in SQL")
    return job.definition, job.version


@router.get("/job/edit")
async def ask(request: Request, id: str = "", _caller: Caller = Depends(signed_in(Scope.OPERATOR))) -> Response:  # noqa: B008
    """The form, filled from what stands."""
    definition, version = await _stored(state_of(request).container, id)
    return _form(request, definition, version, as_text(definition))


@router.post("/job/edit")
async def save(request: Request, caller: Caller = Depends(signed_in(Scope.OPERATOR))) -> Response:  # noqa: B008
    """Put what the form says in the place of the version that it was filled from."""
    values = text_values(("id", "version", *NAMES), await request.form())
    container = state_of(request).container
    stored, version = await _stored(container, values["id"])
    seen = int(values["version"]) if values["version"].isascii() and values["version"].isdigit() else 0
    try:
        if seen != version:
            raise JobConflictError(f"somebody changed job {values['id']!r} while you edited it: nothing was saved yet")
        definition = as_definition(stored, values)
        await asyncio.to_thread(container.check_arguments, definition)
        changed = await container.get_operations(caller.actor).edit(definition, seen=seen)
    except JobConflictError as error:
        stored, version = await _stored(container, values["id"])
        conflict = {"version": version, "fields": await _changed_since(container, stored, seen)}
        return _form(request, stored, version, values, str(error), 409, conflict)
    except SchedulerError as error:
        return _form(request, stored, version, values, str(error), problem_of(error).status_code)
    done = "edited" if changed else "same"
    return RedirectResponse(link_in(request.scope.get("root_path", ""), "/job", id=values["id"], done=done), 303)


async def _changed_since(container: Container, stored: JobDefinition, seen: int) -> list[tuple[str, str, str]]:
    """What the others changed: field, what it was when the form was filled, what it is."""
    before = await container.get_storage().jobs.definition_at(stored.job_id, seen)
    if before is None:
        return []
    names = [item.name for item in fields(JobDefinition)]
    return [
        (name, short(getattr(before, name)), short(getattr(stored, name)))
        for name in names
        if getattr(before, name) != getattr(stored, name)
    ]


def _form(
    request: Request,
    definition: JobDefinition,
    version: int,
    values: Mapping[str, str],
    problem: str | None = None,
    status: int = 200,
    conflict: Mapping[str, Any] | None = None,
) -> Response:
    body = render(
        request,
        "edit.html",
        title=f"Edit {definition.job_id}",
        job_id=definition.job_id,
        callback=definition.callback,
        version=version,
        values=values,
        groups=GROUPS,
        most_characters=MOST_CHARACTERS,
        problem=problem,
        conflict=conflict,
    )
    return HTMLResponse(body, status)

"""Calendars: what they exclude, and how that changes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from scheduler_core.container import Container
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.errors import JobConflictError
from scheduler_core.web.api import paging, schemas
from scheduler_core.web.api.values import ContainerDep, Cursor, Limit, Operator, PathName, Viewer
from scheduler_core.web.api.versions import Seen, tag
from scheduler_core.web.documented import problems

router = APIRouter(prefix="/calendars", tags=["calendars"])


@router.get("", response_model=schemas.CalendarPage)
async def list_calendars(
    _caller: Viewer, container: ContainerDep, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """The calendars, by name."""
    after = paging.decode(cursor, paging.name) or ""
    rows = await container.get_pages().calendars(after=after, limit=limit + 1)
    return paging.page(rows, limit, "name")


@router.get("/{name}", response_model=schemas.CalendarRow, responses=problems(404))
async def get_calendar(name: PathName, _caller: Viewer, container: ContainerDep, response: Response) -> dict[str, Any]:
    """One calendar, whole. The ETag is its version."""
    return await _show(container, name, response)


@router.put("/{name}", response_model=schemas.CalendarRow, responses=problems(409, 428))
async def put_calendar(
    name: PathName,
    asked: schemas.CalendarBody,
    caller: Operator,
    seen: Seen,
    container: ContainerDep,
    response: Response,
) -> dict[str, Any]:
    """Make a calendar exactly this; `If-Match: *` makes a new one too."""
    calendar = _calendar(name, asked)
    operations = container.get_calendars(caller.actor)
    if seen is None:
        await operations.put(calendar)
    elif not await operations.calendars.save(calendar, version=seen, actor=caller.actor):
        await _check_standing(container, calendar, seen)
    return await _show(container, name, response)


@router.post("/{name}/extend", response_model=schemas.CalendarRow, responses=problems(409))
async def extend_calendar(
    name: PathName, asked: schemas.CalendarBody, caller: Operator, container: ContainerDep, response: Response
) -> dict[str, Any]:
    """Add exclusions to a calendar; it is created if it does not exist."""
    await container.get_calendars(caller.actor).extend(_calendar(name, asked))
    return await _show(container, name, response)


@router.post("/{name}/reduce", response_model=schemas.CalendarRow, responses=problems(404, 409))
async def reduce_calendar(
    name: PathName, asked: schemas.CalendarBody, caller: Operator, container: ContainerDep, response: Response
) -> dict[str, Any]:
    """Take exclusions from a calendar."""
    await container.get_calendars(caller.actor).reduce(_calendar(name, asked))
    return await _show(container, name, response)


@router.delete("/{name}", status_code=204, responses=problems(404, 409))
async def remove_calendar(name: PathName, caller: Operator, container: ContainerDep) -> None:
    """Remove a calendar that no job names."""
    await container.get_calendars(caller.actor).remove(name)


async def _check_standing(container: Container, wanted: Calendar, seen: int) -> None:
    """Nothing was stored: because it stands there already, or because others were first. Raises JobConflictError."""
    stored = (await container.get_storage().calendars.load([wanted.name])).get(wanted.name)
    if stored is None or stored.version != seen:
        standing = "is gone" if stored is None else f"is at version {stored.version}"
        raise JobConflictError(
            f"the calendar {wanted.name!r} {standing}, and this was decided on version {seen}: nothing was "
            "changed; look at it again, and repeat"
        )


async def _show(container: Container, name: str, response: Response) -> dict[str, Any]:
    rows = await container.get_storage().calendars.listed([name])
    if not rows:
        await container.get_calendars().get(name)
    tag(response, rows[0]["version"])
    return rows[0]


def _calendar(name: str, asked: schemas.CalendarBody) -> Calendar:
    return Calendar(name, asked.excluded_dates, asked.excluded_weekdays, asked.excluded_periods, asked.note)

"""Jobs: look at them, add, edit and remove them."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response

from scheduler_core.admin.named_callbacks import require_callable
from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidJobError, JobNotFoundError
from scheduler_core.domain.jobs.job import JobDefinition, ScheduleJob
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.domain.schedule.plain_words import plain_words
from scheduler_core.domain.wording import plain
from scheduler_core.ports.runs import InvalidRow
from scheduler_core.web.api import paging
from scheduler_core.web.api.schemas.jobs import Job, JobPage
from scheduler_core.web.api.schemas.jobs import JobDefinition as JobBody
from scheduler_core.web.api.values import ContainerDep, Cursor, Limit, Operator, PathName, Viewer
from scheduler_core.web.api.versions import Seen, SeenIfSaid, tag
from scheduler_core.web.documented import problems
from scheduler_core.web.problem import Problem

router = APIRouter(prefix="/jobs", tags=["jobs"])

KEPT_CALLBACK = "kept:kept"


@router.get("", response_model=JobPage)
async def list_jobs(
    _caller: Viewer, container: ContainerDep, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """The jobs, by id."""
    audit = container.get_audit()
    ids = await audit.job_ids(after=paging.decode(cursor, paging.name) or "", limit=limit + 1)
    rows = await audit.jobs(ids, limit=limit + 1) if ids else []
    return paging.page([row | {"schedule": in_words(row)} for row in rows], limit, "job_id")


@router.post("", status_code=201, response_model=Job, responses=problems(409))
async def add_job(
    asked: JobBody, caller: Operator, container: ContainerDep, request: Request, response: Response
) -> dict[str, Any]:
    """Add a job. One that is there already is not touched: that is a 409."""
    definition = _definition(asked, container)
    await require_callable(container, definition.callback)
    await asyncio.to_thread(container.check_arguments, definition)
    await container.get_operations(caller.actor).add(definition)
    response.headers["Location"] = f"{request.url.path}/{quote(definition.job_id, safe='')}"
    return await show_job(container, definition.job_id, response)


@router.get("/{job_id}", response_model=Job, responses=problems(404))
async def get_job(job_id: PathName, _caller: Viewer, container: ContainerDep, response: Response) -> dict[str, Any]:
    """One job, whole. The ETag is its version."""
    return await show_job(container, job_id, response)


@router.put("/{job_id}", response_model=Job, responses=problems(404, 409, 428))
async def edit_job(
    job_id: PathName,
    asked: JobBody,
    caller: Operator,
    seen: Seen,
    container: ContainerDep,
    response: Response,
) -> dict[str, Any]:
    """Put another definition in a job's place; what is not given has its default. A pause stays.

    Of two who edit the same version the second gets a 409, and nothing of the first is lost.
    """
    if asked.job_id != job_id:
        raise Problem(422, "other-job", f"the body is of the job {asked.job_id!r}: a job's id can't be changed")
    definition = await _edited(asked, container)
    await asyncio.to_thread(container.check_arguments, definition)
    await container.get_operations(caller.actor).edit(definition, seen=seen)
    return await show_job(container, job_id, response)


@router.delete("/{job_id}", status_code=204, responses=problems(404, 409))
async def remove_job(job_id: PathName, caller: Operator, seen: SeenIfSaid, container: ContainerDep) -> None:
    """Remove a job; its history stays."""
    await container.get_operations(caller.actor).remove(job_id, seen=seen)


async def show_job(container: Container, job_id: str, response: Response) -> dict[str, Any]:
    """A job as the API shows it. Raises JobNotFoundError."""
    rows = await container.get_audit().jobs([job_id])
    found = await container.get_storage().jobs.load([job_id])
    if not rows or not found:
        raise JobNotFoundError(f"there is no job {job_id!r}")
    stored = found[0]
    tag(response, rows[0]["version"])
    if isinstance(stored, InvalidRow):
        return rows[0] | {"schedule": None, "definition": None, "problem": stored.problem}
    return rows[0] | {
        "schedule": in_words(rows[0]),
        "definition": _document(stored.definition),
        "problem": None,
    }


def in_words(row: dict[str, Any]) -> str | None:
    """A row's schedule in plain words; None if it can't be read."""
    try:
        return plain_words(ScheduleType(row["schedule_type"]), row["schedule_value"], row["timezone"])
    except Exception:  # noqa: BLE001 - a row edited by hand may hold anything
        return None


def _document(definition: JobDefinition) -> dict[str, Any]:
    values = {item.name: getattr(definition, item.name) for item in fields(definition)}
    return {name: plain(value) if isinstance(value, (datetime, tuple)) else value for name, value in values.items()}


def _definition(asked: JobBody, container: Container) -> JobDefinition:
    given = asked.model_dump(exclude_unset=True)
    given["name"] = given.get("name") or asked.job_id
    job = ScheduleJob(**given)
    settings = container.settings
    return job.definition(job.timezone or settings.default_timezone, default_executor=settings.default_executor)


async def _edited(asked: JobBody, container: Container) -> JobDefinition:
    """What the job is to be. Its callback may stay what it is, also one that no other process can name."""
    found = await container.get_storage().jobs.load([asked.job_id])
    if not found:
        raise JobNotFoundError(f"there is no job {asked.job_id!r}: POST /api/v1/jobs adds one")
    stored = found[0]
    if isinstance(stored, InvalidRow):
        raise InvalidJobError(f"the row of job {asked.job_id!r} can't be read ({stored.problem}): correct it in SQL")
    kept = stored.definition.callback
    if asked.callback != kept:
        definition = _definition(asked, container)
        await require_callable(container, definition.callback)
        return definition
    return replace(_definition(asked.model_copy(update={"callback": KEPT_CALLBACK}), container), callback=kept)

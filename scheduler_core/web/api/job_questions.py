"""What one asks about a job: its runs, its changes, when it fires next, and why it does or does not."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from scheduler_core.admin.explain import explanation_of
from scheduler_core.admin.next_fires import next_of_job, next_of_schedule
from scheduler_core.domain.errors import JobNotFoundError
from scheduler_core.domain.runs.run_filter import RunFilter
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.web.api import schemas
from scheduler_core.web.api.audit import page_of_changes
from scheduler_core.web.api.runs import page_of_runs
from scheduler_core.web.api.values import AnyCase, ContainerDep, Cursor, Limit, PathName, Since, Statuses, Until, Viewer
from scheduler_core.web.documented import problems

router = APIRouter(tags=["jobs"])

Count = Annotated[int, Query(ge=1, le=1_000)]


@router.get("/jobs/{job_id}/runs", response_model=schemas.RunPage)
async def list_runs_of_job(
    job_id: PathName,
    _caller: Viewer,
    container: ContainerDep,
    status: Statuses = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """A job's runs, the latest first; also those of a job that was removed."""
    return await page_of_runs(container, RunFilter(job_id, status, since, until), limit, cursor)


@router.get("/jobs/{job_id}/changes", response_model=schemas.ChangePage)
async def list_changes_of_job(
    job_id: PathName,
    _caller: Viewer,
    container: ContainerDep,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Who changed a job, when, by which door, and what, the latest first."""
    return await page_of_changes(container, job_id, since, until, limit, cursor)


@router.get("/jobs/{job_id}/explain", response_model=schemas.Explanation, responses=problems(404))
async def explain_job(job_id: PathName, _caller: Viewer, container: ContainerDep) -> dict[str, Any]:
    """Why a job did or did not run, what it waits for, and what comes next."""
    found = await explanation_of(container, job_id)
    if not found.is_known:
        raise JobNotFoundError(found.sentences[0] if found.sentences else f"there is no job {job_id!r}")
    return found.as_document()


@router.get("/jobs/{job_id}/next", response_model=schemas.NextFires, responses=problems(404))
async def next_fires_of_job(
    job_id: PathName, _caller: Viewer, container: ContainerDep, count: Count = 10
) -> dict[str, Any]:
    """When a job fires next."""
    return (await next_of_job(container, job_id, count)).as_document()


@router.get("/next", response_model=schemas.NextFires)
async def next_fires_of_schedule(
    _caller: Viewer,
    container: ContainerDep,
    schedule_type: Annotated[ScheduleType, AnyCase()],
    schedule_value: Annotated[str, Query(max_length=500, examples=["30 14 * * mon-fri"])],
    timezone: Annotated[str | None, Query(max_length=100, examples=["Europe/Berlin"])] = None,
    count: Count = 10,
) -> dict[str, Any]:
    """When a schedule would fire next: nothing is stored."""
    zone = timezone or container.settings.default_timezone
    return next_of_schedule(schedule_type, schedule_value, zone, count).as_document()

"""Runs: look at them, run one again, cancel one, take them all home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse

from scheduler_core.container import Container
from scheduler_core.domain.runs.export_lines import Format, header, renderer
from scheduler_core.domain.runs.run_filter import RunFilter, Selection
from scheduler_core.web.api import paging, schemas
from scheduler_core.web.api.idempotency import Key, once
from scheduler_core.web.api.values import (
    AnyCase,
    ContainerDep,
    Cursor,
    Instant,
    JobFilter,
    Limit,
    Operator,
    Since,
    Statuses,
    Until,
    Viewer,
)
from scheduler_core.web.documented import problems
from scheduler_core.web.problem import Problem

router = APIRouter(prefix="/runs", tags=["runs"])

MEDIA_TYPES = {Format.CSV: "text/csv", Format.JSONL: "application/x-ndjson"}


@router.get("", response_model=schemas.RunPage)
async def list_runs(
    _caller: Viewer,
    container: ContainerDep,
    job_id: JobFilter = None,
    status: Statuses = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """The runs of all jobs, the latest first."""
    return await page_of_runs(container, RunFilter(job_id, status, since, until), limit, cursor)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "all columns, day by day",
            "content": {media: {"schema": {"type": "string"}} for media in MEDIA_TYPES.values()},
        }
    },
)
async def export_runs(
    _caller: Viewer,
    container: ContainerDep,
    since: Annotated[Instant, Query(description="from this instant on")],
    until: Annotated[Instant | None, Query(description="before this instant; now by default")] = None,
    job_id: JobFilter = None,
    status: Statuses = None,
    kind: Annotated[Format, AnyCase(), Query(alias="format")] = Format.CSV,
) -> StreamingResponse:
    """The runs of a span as CSV or JSON lines, of any size; a stream that ends early was cut off."""
    end = until or await container.get_database().now()
    if end <= since:
        raise Problem(422, "empty-span", "`since` is not before `until`: give a span that holds something")
    selection = Selection(since, end, job_id, tuple(status) if status else None)
    columns = await container.get_run_export().columns()
    return StreamingResponse(_lines(container, selection, kind, columns), media_type=MEDIA_TYPES[kind])


@router.get("/{run_id}", response_model=schemas.RunDetails, responses=problems(404))
async def get_run(run_id: UUID, _caller: Viewer, container: ContainerDep) -> dict[str, Any]:
    """One run with its attempts and their tracebacks."""
    return await container.run_details(run_id)


@router.post("/{run_id}/retry", status_code=201, response_model=schemas.MadeRun, responses=problems(404, 409))
async def retry_run(
    run_id: UUID, caller: Operator, container: ContainerDep, request: Request, key: Key = None
) -> JSONResponse:
    """Run a finished run's job again, now, by its definition of today."""

    async def work(new_id: UUID | None, is_repeat: bool) -> schemas.MadeRun:
        if is_repeat and new_id is not None:
            made = await container.get_audit().run(new_id)
            if made is not None:
                return schemas.MadeRun.model_validate(made)
        run = await container.get_run_operations().rerun(run_id, new_id)
        return schemas.MadeRun.model_validate(run).model_copy(update={"rerun_of": run_id})

    return await once(request, container, caller, key, None, work)


@router.post("/{run_id}/cancel", response_model=schemas.Cancelled, responses=problems(404, 409))
async def cancel_run(run_id: UUID, caller: Operator, container: ContainerDep) -> Any:
    """Cancel a run, without a retry: one that waits ends at once, one that executes is ended by its owner."""
    return await container.get_run_operations().cancel(run_id, caller.actor.name)


async def page_of_runs(container: Container, wanted: RunFilter, limit: int, cursor: str | None) -> dict[str, Any]:
    """A page of runs: of one job's in the order of their instants, of all in that of their ids."""
    before: UUID | datetime | None
    if wanted.job_id is None:
        key, before = "run_id", paging.decode(cursor, UUID)
    else:
        key, before = "scheduled_for", paging.decode(cursor, paging.instant)
    rows = await container.get_pages().runs(wanted, before=before, limit=limit + 1)
    return paging.page(rows, limit, key)


async def _lines(container: Container, selection: Selection, kind: Format, columns: list[str]) -> AsyncIterator[str]:
    export, render = container.get_run_export(), renderer(kind, columns)
    yield header(kind, columns)
    for day in await export.days(selection):
        async for rows in export.pages(selection, day):
            yield render(rows)

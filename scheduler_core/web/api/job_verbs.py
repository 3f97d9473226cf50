"""What operators do to a job beside editing it: pause, resume, revert, trigger, backfill."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from scheduler_core.domain.jobs.backfill import Backfill
from scheduler_core.domain.runs.run import Origin
from scheduler_core.web.api import schemas
from scheduler_core.web.api.idempotency import Key, once
from scheduler_core.web.api.jobs import show_job
from scheduler_core.web.api.values import ContainerDep, Operator, PathName
from scheduler_core.web.api.versions import SeenIfSaid
from scheduler_core.web.documented import problems

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])


@router.post("/pause", response_model=schemas.Job, responses=problems(404, 409))
async def pause_job(
    job_id: PathName,
    caller: Operator,
    seen: SeenIfSaid,
    container: ContainerDep,
    response: Response,
    asked: schemas.Pause | None = None,
) -> dict[str, Any]:
    """Stop a job from firing until it is resumed, or until an instant; a deploy does not undo it."""
    wanted = asked or schemas.Pause()
    operations = container.get_operations(caller.actor)
    await operations.pause(job_id, until=wanted.until, note=wanted.note, by=caller.actor.name, seen=seen)
    return await show_job(container, job_id, response)


@router.post("/resume", response_model=schemas.Job, responses=problems(404, 409))
async def resume_job(
    job_id: PathName, caller: Operator, seen: SeenIfSaid, container: ContainerDep, response: Response
) -> dict[str, Any]:
    """Let a paused or automatically disabled job fire again."""
    await container.get_operations(caller.actor).resume(job_id, seen=seen)
    return await show_job(container, job_id, response)


@router.post("/revert", response_model=schemas.Job, responses=problems(404, 409))
async def revert_job(
    job_id: PathName,
    asked: schemas.Revert,
    caller: Operator,
    seen: SeenIfSaid,
    container: ContainerDep,
    response: Response,
) -> dict[str, Any]:
    """Bring back an earlier definition; a pause stays. The same code does not undo it, other code does."""
    await container.get_operations(caller.actor).revert(job_id, asked.version, seen=seen)
    return await show_job(container, job_id, response)


@router.post("/trigger", status_code=201, response_model=schemas.MadeRun, responses=problems(404, 409))
async def trigger_job(
    job_id: PathName, caller: Operator, container: ContainerDep, request: Request, key: Key = None
) -> JSONResponse:
    """Run a job now, beside its schedule."""

    async def work(run_id: UUID | None, is_repeat: bool) -> schemas.MadeRun:
        if is_repeat and run_id is not None:
            made = await container.get_audit().run(run_id)
            if made is not None:
                return schemas.MadeRun.model_validate(made)
        run = await container.get_operations(caller.actor).trigger(job_id, Origin.TRIGGER, run_id)
        return schemas.MadeRun.model_validate(run)

    return await once(request, container, caller, key, None, work)


@router.post("/backfill", status_code=201, response_model=schemas.Backfill, responses=problems(404, 409))
async def backfill_job(
    job_id: PathName,
    asked: schemas.BackfillRequest,
    caller: Operator,
    container: ContainerDep,
    request: Request,
    key: Key = None,
) -> JSONResponse:
    """Make up for past occurrences that have no run, in order, one at a time, beside the schedule."""

    async def work(_run_id: UUID | None, _is_repeat: bool) -> schemas.Backfill:
        # An occurrence that has a run is left alone: doing it once more makes nothing twice.
        operations = container.get_run_operations()
        verb = operations.preview_backfill if asked.dry_run else operations.backfill
        return _told(await verb(job_id, asked.start, asked.until, limit=asked.limit), asked)

    return await once(request, container, caller, key, asked, work)


def _told(found: Backfill, asked: schemas.BackfillRequest) -> schemas.Backfill:
    instants = sorted([*found.to_make, *(instant for instant, _ in found.existing)])
    return schemas.Backfill(
        job_id=found.job_id,
        start=found.start,
        until=found.end,
        dry_run=asked.dry_run,
        occurrences=found.count,
        first=instants[0] if instants else None,
        last=instants[-1] if instants else None,
        made=0 if asked.dry_run else len(found.to_make),
        to_make=list(found.to_make),
        existing=[schemas.ExistingRun(scheduled_for=instant, status=status) for instant, status in found.existing],
    )

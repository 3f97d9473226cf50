"""Jobs as a file: what `scheduler jobs export` writes, and `import` reads."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse

from scheduler_core.admin.named_callbacks import require_callable
from scheduler_core.admin.proposal import Proposal, carry_out, propose_import, read_stored
from scheduler_core.container import Container
from scheduler_core.jobs_file.reading import parse_jobs
from scheduler_core.jobs_file.writing import dump_jobs
from scheduler_core.web.api.schemas.jobs import ImportDifference
from scheduler_core.web.api.values import ContainerDep, Operator, Viewer
from scheduler_core.web.documented import problems
from scheduler_core.web.problem import Problem

router = APIRouter(tags=["jobs"])

TOML = "application/toml"
SOURCE = "the file"


@router.get(
    "/jobs-file",
    response_class=PlainTextResponse,
    responses={200: {"description": "TOML", "content": {TOML: {"schema": {"type": "string"}}}}},
)
async def export_jobs(_caller: Viewer, container: ContainerDep) -> PlainTextResponse:
    """The stored jobs as TOML, which a POST reads back exactly."""
    stored = await read_stored(container)
    stored.require(stored.unreadable)
    return PlainTextResponse(dump_jobs(stored.definitions.values()), media_type=TOML)


@router.post(
    "/jobs-file",
    response_model=ImportDifference,
    responses=problems(409),
    openapi_extra={
        "requestBody": {"required": True, "content": {"text/plain": {"schema": {"type": "string", "minLength": 1}}}}
    },
)
async def import_jobs(
    request: Request,
    caller: Operator,
    container: ContainerDep,
    dry_run: Annotated[bool, Query(description="only say what would change")] = True,
    prune: Annotated[bool, Query(description="remove the jobs that the file does not declare")] = False,
) -> dict[str, Any]:
    """Make the stored jobs those of a file. Without `dry_run=false` it only says what would change."""
    body = await request.body()
    if not body:
        raise Problem(422, "no-file", "there is no body: send the file of jobs, with a comment where none is meant")
    jobs = parse_jobs(body, SOURCE)

    async def propose(container: Container) -> Proposal:
        proposal = await propose_import(container, jobs, SOURCE, prune=prune, kept=None)
        changed = [edit.new for edit in proposal.difference.edited if edit.new.callback != edit.old.callback]
        for callback in {definition.callback for definition in (*proposal.difference.added, *changed)}:
            await require_callable(container, callback)
        return proposal

    found = await carry_out(container, propose, apply_it=not dry_run, actor=caller.actor)
    applied = not dry_run and len(found.difference) > 0
    return found.difference.document() | {"notes": found.notes, "applied": applied}

"""Jobs: list them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from scheduler_core.container import Container
from scheduler_core.domain.access import Scope
from scheduler_core.web.access import Caller, require
from scheduler_core.web.state import get_container

router = APIRouter(prefix="/jobs", tags=["jobs"])

Viewer = Annotated[Caller, Depends(require(Scope.VIEWER))]
Served = Annotated[Container, Depends(get_container)]


@router.get("")
async def list_jobs(
    _caller: Viewer, container: Served, limit: Annotated[int, Query(ge=1, le=1_000)] = 100
) -> dict[str, Any]:
    """The jobs, by id."""
    audit = container.get_audit()
    ids = await audit.job_ids(after="", limit=limit)
    return {"items": await audit.jobs(ids, limit=limit) if ids else [], "next_cursor": None}

"""The leader: who it is, who it was, and asking it to resign; the replicas that could lead."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from scheduler_core.admin.status import leader_status
from scheduler_core.web.api import paging
from scheduler_core.web.api.schemas.leader import Leader, Replicas, ResignAsked, TermPage
from scheduler_core.web.api.values import ContainerDep, Cursor, Limit, Operator, Viewer
from scheduler_core.web.documented import problems
from scheduler_core.web.problem import Problem

router = APIRouter(tags=["replicas"])


@router.get("/leader", response_model=Leader)
async def get_leader(_caller: Viewer, container: ContainerDep) -> dict[str, Any]:
    """Who leads, since when, and the replicas that live."""
    return await leader_status(container)


@router.post("/leader/resign", status_code=202, response_model=ResignAsked, responses=problems(409))
async def ask_leader_to_resign(caller: Operator, container: ContainerDep) -> dict[str, Any]:
    """Ask the leader, wherever it is, to give the term up for another replica."""
    before = await leader_status(container)
    if before["instance_id"] is None:
        raise Problem(409, "no-leader", "nobody leads, so nobody can resign")
    await container.ask_to_resign(before["term"], caller.actor.name)
    return before


@router.get("/leader/history", response_model=TermPage)
async def list_terms(
    _caller: Viewer, container: ContainerDep, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """The terms, the latest first: who led, why it ended, how long nobody led before."""
    before = paging.decode(cursor, paging.number)
    rows = await container.get_pages().terms(before=before, limit=limit + 1)
    return paging.page(rows, limit, "term")


@router.get("/replicas", response_model=Replicas)
async def list_replicas(_caller: Viewer, container: ContainerDep) -> dict[str, Any]:
    """The replicas that live."""
    return {"items": await container.get_audit().replicas()}

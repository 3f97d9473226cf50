"""The database's clock: what it shows, whether planning has stopped for it, and agreeing to it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from scheduler_core.admin.clock import agree_to_clock, report_clock
from scheduler_core.web.api.schemas.leader import ClockAgreed, ClockReport
from scheduler_core.web.api.values import ContainerDep, Operator, Viewer
from scheduler_core.web.documented import problems

router = APIRouter(tags=["clock"])


@router.get("/clock", response_model=ClockReport)
async def get_clock(_caller: Viewer, container: ContainerDep) -> dict[str, Any]:
    """What the database's clock shows, and whether planning has stopped because it jumped."""
    return await report_clock(container)


@router.post("/clock/agree", response_model=ClockAgreed, responses=problems(409))
async def agree_to_the_clock(
    caller: Operator,
    container: ContainerDep,
    hold_id: Annotated[
        int | None, Query(ge=1, lt=2**63, description="of the jump that was seen: another one is not agreed to")
    ] = None,
) -> dict[str, Any]:
    """Have planning go on by the time that the database's clock shows now."""
    return await agree_to_clock(container, caller.actor.name, hold_id)

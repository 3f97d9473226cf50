"""Table families, and what the doctor finds."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from scheduler_core.admin.doctor import WISHES, examine
from scheduler_core.web.api.schemas.doctor import Examination
from scheduler_core.web.api.schemas.tables import Families
from scheduler_core.web.api.values import ContainerDep, Operator, PathName, Viewer
from scheduler_core.web.documented import problems
from scheduler_core.web.problem import Problem

router = APIRouter(tags=["operations"])


@router.get("/tables", response_model=Families)
async def list_families(_caller: Viewer, container: ContainerDep) -> dict[str, Any]:
    """The families that somebody has created tables for, the scheduler's own history first."""
    return {"items": await container.get_tables().families.listed()}


@router.delete("/tables/{schema}/{family}", status_code=204, responses=problems(404))
async def forget_family(schema: PathName, family: PathName, _caller: Operator, container: ContainerDep) -> None:
    """Miss the tables of a family no more, because nobody creates them any more; its tables stay."""
    if not await container.get_tables().families.forget(family, schema):
        raise Problem(404, "family-not-found", f"there is no family {schema}.{family}")


@router.get("/doctor", response_model=Examination)
async def examine_all(_caller: Viewer, container: ContainerDep) -> dict[str, Any]:
    """Servers, schema, clocks, replicas and jobs: is everything well, and if not, what is it?"""
    found = await examine(container)
    return {**found, "healthy": all(finding["kind"] in WISHES for finding in found["findings"])}

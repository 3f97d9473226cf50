"""Table families, and what the doctor finds."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from scheduler_core.examination import WISHES, examine
from scheduler_core.web.api import schemas
from scheduler_core.web.api.values import Served, Viewer

router = APIRouter(tags=["operations"])


@router.get("/tables", response_model=schemas.Families)
async def list_families(_caller: Viewer, container: Served) -> dict[str, Any]:
    """The families that somebody has created tables for, the scheduler's own history first."""
    return {"items": await container.get_tables().families.listed()}


@router.get("/doctor", response_model=schemas.Examination)
async def examine_all(_caller: Viewer, container: Served) -> dict[str, Any]:
    """Servers, schema, clocks, replicas and jobs: is everything well, and if not, what is it?"""
    found = await examine(container)
    return {**found, "healthy": all(trouble["kind"] in WISHES for trouble in found["troubles"])}

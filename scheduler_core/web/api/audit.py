"""The questions that auditors ask: what was missed, doubled, changed; who led."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter

from scheduler_core.container import Container
from scheduler_core.domain.audit_filter import AuditFilter
from scheduler_core.web.api import paging
from scheduler_core.web.api.schemas.audit import Duplicates, GapReport
from scheduler_core.web.api.schemas.jobs import ChangePage
from scheduler_core.web.api.values import ContainerDep, Cursor, JobFilter, Limit, Since, Until, Viewer

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("/gaps", response_model=GapReport)
async def find_gaps(
    _caller: Viewer,
    container: ContainerDep,
    job_id: JobFilter = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Occurrences without a row or a count, by the definitions as they stood."""
    report = await container.get_auditor().gaps(AuditFilter(job_id, since, until, limit))
    return report.as_document()


@router.get("/duplicates", response_model=Duplicates)
async def find_duplicates(
    _caller: Viewer,
    container: ContainerDep,
    job_id: JobFilter = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Occurrences with two rows, or whose record betrays a second call."""
    return {"items": await container.get_auditor().duplicates(AuditFilter(job_id, since, until, limit))}


@router.get("/changes", response_model=ChangePage)
async def list_changes(
    _caller: Viewer,
    container: ContainerDep,
    job_id: JobFilter = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Who changed which job, when, by which door, and what, the latest first."""
    return await page_of_changes(container, job_id, since, until, limit, cursor)


async def page_of_changes(
    container: Container,
    job_id: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
) -> dict[str, Any]:
    """A page of the log."""
    before = paging.decode(cursor, paging.number)
    pages = container.get_pages()
    rows = await pages.changes(job_id=job_id, since=since, until=until, before=before, limit=limit + 1)
    return paging.page(rows, limit, "change_id")

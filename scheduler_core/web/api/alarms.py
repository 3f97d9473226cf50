"""Alarms, and the notifications that tell of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from scheduler_core.admin.alarms import report_alarms
from scheduler_core.domain.alerts.alarm import AlarmKind, Event, Notification
from scheduler_core.web.api import paging, schemas
from scheduler_core.web.api.values import AnyCase, ContainerDep, Cursor, Limit, Operator, PathName, Viewer

router = APIRouter(tags=["alarms"])


@router.get("/alarms", response_model=schemas.AlarmPage)
async def list_alarms(
    _caller: Viewer,
    container: ContainerDep,
    closed: Annotated[bool, Query(description="those of the last month that are closed, too")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """What is wrong with which job, the latest first; where no replica watches, what a look finds now."""
    before = paging.decode(cursor, paging.number)
    found = await report_alarms(container, closed_too=closed, before=before, limit=limit + 1)
    unseen = [row for row in found["alarms"] if row["alarm_id"] is None]
    page = paging.page([row for row in found["alarms"] if row["alarm_id"] is not None], limit, "alarm_id")
    return {
        "items": unseen + page["items"],
        "next_cursor": page["next_cursor"],
        "looked_at": found["looked_at"],
        "looked_by": found["looked_by"],
        "unwatched_seconds": found["unwatched_seconds"],
    }


@router.post("/jobs/{job_id}/alarms/close", response_model=schemas.ClosedAlarms)
async def close_alarms(
    job_id: PathName,
    caller: Operator,
    container: ContainerDep,
    kind: Annotated[Annotated[AlarmKind, AnyCase()] | None, Query(description="only alarms of this kind")] = None,
) -> dict[str, int]:
    """Close a job's alarms: somebody has seen to it. One whose reason goes on opens again."""
    return {"closed": await container.get_alarms().close(job_id, kind=kind, by=caller.actor.name)}


@router.get("/notifications", response_model=schemas.NotificationPage)
async def list_notifications(
    _caller: Viewer, container: ContainerDep, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """Messages to the webhook, the latest first: those that wait, were delivered, were given up."""
    before = paging.decode(cursor, paging.number)
    rows = await container.get_outbox().listed(before=before, limit=limit + 1)
    return paging.page(rows, limit, "notification_id")


@router.post("/notifications/test", status_code=202, response_model=schemas.QueuedNotification)
async def send_test(caller: Operator, container: ContainerDep) -> dict[str, int]:
    """Have a replica that has a webhook send a test; the listing shows what became of it."""
    now = await container.get_database().now()
    test = Notification(Event.TEST, f"a test, asked for by {caller.actor.name}", now)
    return {"notification_id": await container.get_outbox().queue(test)}

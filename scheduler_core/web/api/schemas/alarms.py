"""Alarms, and the notifications about them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from scheduler_core.domain.alerts.alarm import AlarmKind
from scheduler_core.web.api.schemas.base import Page, ResponseModel


class Alarm(ResponseModel):
    """What is wrong with a job. `alarm_id` is null where no replica has opened it yet."""

    alarm_id: int | None
    kind: AlarmKind
    job_id: str = Field(examples=["daily_report"])
    job_name: str
    since: datetime
    detail: str = Field(examples=["no leader has planned it"])
    run_id: UUID | None
    failed_runs: int
    opened_at: datetime | None
    last_at: datetime | None
    closed_at: datetime | None
    closed_why: str | None


class AlarmPage(Page):
    """`unwatched_seconds`: for so long no replica has looked; null while one does, and before the first did."""

    items: list[Alarm]
    looked_at: datetime | None
    looked_by: str | None
    unwatched_seconds: float | None


class ClosedAlarms(ResponseModel):
    closed: int = Field(examples=[1])


class NotificationRow(ResponseModel):
    """A message to the webhook, and what became of it."""

    notification_id: int
    message_id: UUID
    event: str = Field(examples=["overdue"])
    state: Literal["waiting", "refused", "delivered", "given up"]
    text: str
    created_at: datetime
    attempts: int
    next_attempt_at: datetime
    last_error: str | None
    claimed_by: str | None
    delivered_at: datetime | None
    given_up_at: datetime | None


class NotificationPage(Page):
    items: list[NotificationRow]


class QueuedNotification(ResponseModel):
    notification_id: int = Field(examples=[17])

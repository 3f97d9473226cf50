"""Runs and their attempts, and what makes or ends them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import ConfigDict, Field

from scheduler_core.domain.jobs.backfill import MOST_OCCURRENCES
from scheduler_core.domain.runs.run import Origin, RunStatus
from scheduler_core.web.api.schemas.base import INSTANT, RUN_ID, Page, RequestModel, ResponseModel, Seconds
from scheduler_core.web.api.values import Instant


class MadeRun(ResponseModel):
    """A run that was just made; the leader starts it."""

    run_id: UUID = Field(examples=[RUN_ID])
    job_id: str = Field(examples=["daily_report"])
    scheduled_for: datetime = Field(examples=[INSTANT])
    origin: Origin = Field(examples=["trigger"])
    rerun_of: UUID | None = None


class BackfillRequest(RequestModel):
    """A past range, both ends included."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={
            "examples": [{"from": "2026-11-22T00:00:00Z", "until": "2026-11-22T23:59:59Z", "dry_run": True}]
        },
    )

    start: Instant = Field(alias="from")
    until: Instant
    limit: int = Field(default=MOST_OCCURRENCES, ge=1, le=100_000, description="the most occurrences it may hold")
    dry_run: bool = Field(default=False, description="only say what would be made")


class ExistingRun(ResponseModel):
    scheduled_for: datetime
    status: str


class Backfill(ResponseModel):
    """What a backfill makes, and what had a run already. The first and the last occurrence are of both."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    job_id: str = Field(examples=["daily_report"])
    start: datetime = Field(serialization_alias="from")
    until: datetime
    dry_run: bool
    occurrences: int
    first: datetime | None
    last: datetime | None
    made: int
    to_make: list[datetime]
    existing: list[ExistingRun]


class Run(ResponseModel):
    """The record of one occurrence."""

    run_id: UUID = Field(examples=[RUN_ID])
    job_id: str = Field(examples=["daily_report"])
    job_name: str
    scheduled_for: datetime = Field(examples=[INSTANT])
    origin: str = Field(examples=["schedule"])
    status: str = Field(examples=["succeeded"])
    reason: str | None
    attempts: int
    deliveries: int
    started_at: datetime | None
    finished_at: datetime | None
    duration: Seconds | None
    lateness: Seconds | None
    term: int | None
    instance_id: str | None
    definition_version: int
    error: str | None
    missed_count: int | None
    missed_from: datetime | None
    rerun_of: UUID | None
    cancel_requested_at: datetime | None
    cancel_requested_by: str | None


class Attempt(ResponseModel):
    """One call of the callback."""

    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    outcome: str = Field(examples=["failed"])
    error_type: str | None = Field(examples=["ValueError"])
    error_message: str | None
    traceback: str | None
    term: int | None
    instance_id: str | None
    late: bool


class RunDetails(Run):
    """A run with its attempts."""

    attempt_list: list[Attempt]


class RunPage(Page):
    items: list[Run]


class Cancelled(ResponseModel):
    """A run as a cancel left it: `cancelled`, or `running` until its owner has ended it."""

    run_id: UUID = Field(examples=[RUN_ID])
    job_id: str
    status: RunStatus
    instance_id: str | None = Field(description="who executes it")

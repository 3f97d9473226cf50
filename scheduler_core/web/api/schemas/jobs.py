"""Jobs, what changes them, and when they fire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from scheduler_core.domain.policies import Delivery, Misfire, Overlap
from scheduler_core.domain.schedule import Dst, ScheduleType
from scheduler_core.web.api.schemas.base import INSTANT, Name, Note, Page, RequestModel, ResponseModel
from scheduler_core.web.api.values import AnyCase, Instant


class JobDefinition(RequestModel):
    """A job as code declares it: docs/schedules.md and docs/configuration.md say what each field may be."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "job_id": "daily_report",
                    "name": "Daily report",
                    "schedule_type": "daily",
                    "schedule_value": ["14:30"],
                    "timezone": "Europe/Berlin",
                    "callback": "app.reports:send",
                    "kwargs": {"format": "pdf"},
                    "max_retries": 5,
                }
            ]
        },
    )

    job_id: Name
    name: str | None = Field(default=None, description="for people; the id by default")
    schedule_type: Annotated[ScheduleType, AnyCase()]
    schedule_value: float | str | list[str] | None = Field(
        description="seconds; HH:MM, or a list of them; an instant, null for now; a cron expression"
    )
    timezone: str | None = None
    start_at: str | None = None
    end_at: str | None = None
    dst: Annotated[Dst, AnyCase()] = Dst.ONCE
    jitter: float = 0.0
    calendars: list[str] = Field(default_factory=list)
    callback: str = Field(description="package.module:function, under allowed_callbacks or known to a living replica")
    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    enabled: bool = True
    misfire: Annotated[Misfire, AnyCase()] = Misfire.LATEST
    misfire_grace: float = 10.0
    catch_up_limit: int = 100
    overlap: Annotated[Overlap, AnyCase()] = Overlap.SKIP
    delivery: Annotated[Delivery, AnyCase()] = Delivery.AT_LEAST_ONCE
    timeout: float | None = None
    max_retries: int = 3
    retry_delay: float = 1.0
    retry_max_delay: float = 60.0
    disable_after: int | None = None
    executor: str = "local"
    tags: list[str] = Field(default_factory=list)
    use_distributed_lock: bool = False
    lock_key: str | None = None
    lock_ttl: float = 300.0


class JobRow(ResponseModel):
    """A job, its counters, and what operators did to it."""

    job_id: str = Field(examples=["daily_report"])
    name: str = Field(examples=["Daily report"])
    schedule_type: str = Field(examples=["daily"])
    schedule_value: Any = Field(examples=[["14:30:00"]])
    schedule: str | None = Field(description="in plain words", examples=["every day at 14:30"])
    timezone: str = Field(examples=["Europe/Berlin"])
    enabled: bool
    next_run: datetime | None = Field(examples=[INSTANT])
    last_run: datetime | None = Field(examples=[INSTANT])
    run_count: int
    error_count: int
    consecutive_failures: int
    version: int = Field(description="of the definition and of what operators did; also the ETag", examples=[3])
    paused: bool
    paused_until: datetime | None
    paused_by: str | None
    pause_note: str | None
    auto_disabled_at: datetime | None
    finished_at: datetime | None
    callback: str = Field(examples=["app.reports:send"])
    tags: list[str]
    calendars: list[str]
    last_status: str | None = Field(examples=["succeeded"])
    last_error: str | None


class Job(JobRow):
    """A job, whole."""

    definition: dict[str, Any] | None = Field(
        description="what a PUT takes back; null if the row can't be read", examples=[{"job_id": "daily_report"}]
    )
    problem: str | None = Field(description="why the row can't be read, if it can't")


class JobPage(Page):
    items: list[JobRow]


class Pause(RequestModel):
    """Why, and until when."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"note": "until the import is repaired", "until": None}]}
    )

    until: Instant | None = Field(default=None, description="resume by itself then")
    note: Note | None = None


class Revert(RequestModel):
    """Which version's definition to bring back, as the log of changes numbers them."""

    version: int = Field(ge=1, le=2**62, examples=[2])


class Upcoming(ResponseModel):
    """One fire to come."""

    utc: datetime = Field(examples=[INSTANT])
    local: str = Field(examples=["2026-11-23T15:30:00+01:00"])
    left_out: int = Field(description="how many before it are excluded by calendars")
    note: str | None = Field(description="what a change of the clocks does to it")


class NextFires(ResponseModel):
    """When a schedule fires next."""

    schedule: str = Field(description="in plain words", examples=["every day at 14:30"])
    timezone: str
    items: list[Upcoming]


class Explanation(ResponseModel):
    """Why a job did or did not run, what it waits for, and what comes next."""

    job_id: str
    known: bool
    will_fire: bool
    schedule: str | None
    timezone: str | None
    sentences: list[str]
    runs: list[dict[str, Any]]
    next: list[Upcoming]


class Change(ResponseModel):
    """One change of a job; `old` and `new` are its documents before and after."""

    changed_at: datetime
    job_id: str
    version: int
    action: str = Field(examples=["paused"])
    actor: str = Field(examples=["token ci"])
    source: str = Field(examples=["api"])
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    effective_at: datetime
    reverted_to: int | None
    database_user: str


class ChangePage(Page):
    items: list[Change]


class ImportDifference(ResponseModel):
    """What the file changes, or would change: as `scheduler jobs import --json` says it."""

    added: list[dict[str, Any]] = Field(examples=[[{"job_id": "daily_report", "fields": {"daily": "14:30"}}]])
    changed: list[dict[str, Any]] = Field(
        examples=[[{"job_id": "import", "fields": {"every": {"old": 30, "new": 60}}}]]
    )
    removed: list[dict[str, Any]]
    unchanged: int = Field(examples=[38])
    notes: list[str] = Field(description="what a person should know before saying yes")
    applied: bool

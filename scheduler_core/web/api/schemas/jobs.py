"""Jobs, what changes them, and when they fire."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from functools import reduce
from operator import or_
from types import GenericAlias, UnionType
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import ConfigDict, Field, create_model

from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.domain.jobs.job_policies import POLICY
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.web.api.schemas.base import INSTANT, Name, Note, Page, RequestModel, ResponseModel
from scheduler_core.web.api.values import AnyCase, Instant


class _JobBody(RequestModel):
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
    callback: str = Field(description="package.module:function, under allowed_callbacks or known to a living replica")


def _in_json(kind: Any) -> Any:
    """A policy's type as a body says it: words in any case, instants and zones as text, sequences as lists."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return Annotated[kind, AnyCase()]
    if get_origin(kind) is UnionType:
        return reduce(or_, map(_in_json, get_args(kind)))
    if kind is datetime:
        return str
    return GenericAlias(list, get_args(kind)[:1]) if get_origin(kind) is tuple else kind


def _policy_fields() -> dict[str, Any]:
    body = {}
    for name in POLICY:
        field = ScheduleJob.model_fields[name]
        default = field.get_default(call_default_factory=True)
        is_collection = isinstance(default, (tuple, dict))
        body[name] = (
            _in_json(field.annotation),
            Field(default_factory=dict if isinstance(default, dict) else list) if is_collection else default,
        )
    return body


if TYPE_CHECKING:
    JobDefinition = _JobBody
else:
    JobDefinition = create_model("JobDefinition", __base__=_JobBody, __doc__=_JobBody.__doc__, **_policy_fields())


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

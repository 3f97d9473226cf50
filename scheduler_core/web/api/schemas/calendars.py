"""Calendars."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from scheduler_core.web.api.schemas.base import Page, RequestModel, ResponseModel


class CalendarBody(RequestModel):
    """What a calendar excludes."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "excluded_dates": {"2026-12-25": "Christmas Day"},
                    "excluded_weekdays": ["sat", "sun"],
                    "excluded_periods": [["2026-12-31T18:00:00Z", "2027-01-01T06:00:00Z"]],
                    "note": "business days",
                }
            ]
        },
    )

    excluded_dates: dict[str, str] = Field(default_factory=dict)
    excluded_weekdays: list[str] = Field(default_factory=list)
    excluded_periods: list[tuple[str, str]] = Field(default_factory=list)
    note: str | None = None


class CalendarRow(ResponseModel):
    name: str = Field(examples=["holidays"])
    excluded_dates: dict[str, str]
    excluded_weekdays: list[str]
    excluded_periods: list[Any]
    note: str | None
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str | None
    job_count: int = Field(description="how many jobs name it")


class CalendarPage(Page):
    items: list[CalendarRow]

"""What the jobs of a span would do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from scheduler_core.web.api.schemas.base import INSTANT, ResponseModel


class Simulation(ResponseModel):
    """What `scheduler simulate --json` prints."""

    since: datetime = Field(examples=[INSTANT])
    until: datetime = Field(examples=[INSTANT])
    days: int = Field(examples=[30])
    timezone: str = Field(examples=["Europe/Berlin"])
    jobs: int = Field(examples=[40])
    fires: int = Field(examples=[86_400])
    busiest_hour: dict[str, Any] = Field(examples=[{"since": INSTANT, "fires": 3_600}])
    load: list[dict[str, Any]] = Field(description="fires of each hour, by day")
    stampedes: list[dict[str, Any]] = Field(description="instants at which many jobs are due")
    steady_jobs: Any = Field(description="jobs that meet all the time")
    overlaps: list[dict[str, Any]] = Field(description="jobs whose runs last longer than their interval")
    known_durations: Any = Field(description="for how many jobs a duration is known")
    clock_changes: list[dict[str, Any]]
    gaps: list[dict[str, Any]] = Field(description="times without any fire")
    silent: Any = Field(description="jobs that do not fire at all")
    suggestions: list[dict[str, Any]]

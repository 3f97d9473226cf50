"""Answers to auditors' questions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from scheduler_core.web.api.schemas.base import INSTANT, RUN_ID, ResponseModel


class GapReport(ResponseModel):
    """Whether every occurrence has a row or is counted in one."""

    clean: bool = Field(examples=[True])
    since: datetime = Field(examples=[INSTANT])
    until: datetime = Field(examples=[INSTANT])
    jobs: int = Field(examples=[40])
    expected: int = Field(description="occurrences that were owed", examples=[86_400])
    waiting: int = Field(examples=[0])
    unaccounted: int = Field(examples=[0])
    gaps: list[dict[str, Any]]
    unchecked: list[dict[str, str]]


class Duplicate(ResponseModel):
    """An occurrence with two rows, or whose record betrays a second call."""

    kind: str = Field(examples=["beyond_policy"])
    job_id: str = Field(examples=["daily_report"])
    scheduled_for: datetime = Field(examples=[INSTANT])
    executions: int = Field(examples=[2])
    run_id: str | None = Field(examples=[RUN_ID])
    detail: str | None


class Duplicates(ResponseModel):
    items: list[Duplicate]

"""Who leads, which replicas live, and the database's clock."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from scheduler_core.web.api.schemas.base import INSTANT, Page, ResponseModel, Seconds


class Replica(ResponseModel):
    instance_id: str = Field(examples=["worker-1-4711-9f3c2a10"])
    host: str
    pid: int
    started_at: datetime
    last_seen: datetime
    version: str
    eligible: bool
    role: Literal["leader", "follower"]


class Replicas(ResponseModel):
    items: list[Replica]


class Leader(ResponseModel):
    """Who leads, and who could. Without a leader the members about it are null."""

    term: int | None = Field(examples=[12])
    instance_id: str | None
    host: str | None
    pid: int | None
    acquired_at: datetime | None
    lease_expires_in: float | None = Field(description="seconds; null: Redis can't say")
    replicas: list[Replica]


class ClockHold(ResponseModel):
    """Why planning stopped. `ahead_by`: seconds, negative for a jump back; `ended_at` is null while it stands still."""

    hold_id: int
    expected_at: datetime
    database_at: datetime
    ahead_by: Seconds
    evidence: str = Field(examples=["boottime"])
    term: int
    instance_id: str
    ended_at: datetime | None
    ended_why: str | None


class ClockReport(ResponseModel):
    """The database's clock. `held`: planning has stopped, because it jumped further than `jump_limit` seconds."""

    database_at: datetime = Field(examples=["2026-11-23T12:00:00+00:00"])
    machine_at: datetime = Field(description="what the clock of the machine that answers shows")
    held: bool
    hold_id: int | None
    detail: str | None
    planned_at: datetime | None = Field(description="the last reading that planning went by")
    jump_limit: float
    holds: list[ClockHold]


class ClockAgreed(ResponseModel):
    """`hold_id`: what the agreement ended; null where nothing had stopped planning."""

    database_at: datetime
    hold_id: int | None = Field(examples=[1])


class ResignAsked(ResponseModel):
    """Who was asked to resign."""

    instance_id: str = Field(examples=["worker-1-4711-9f3c2a10"])
    term: int = Field(examples=[12])


class Term(ResponseModel):
    """One leadership."""

    term: int = Field(examples=[12])
    instance_id: str = Field(examples=["worker-1-4711-9f3c2a10"])
    host: str = Field(examples=["worker-1"])
    acquired_at: datetime = Field(examples=[INSTANT])
    ended_at: datetime | None
    end_reason: str | None = Field(examples=["asked to"])
    leaderless_for: Seconds | None = Field(description="seconds without a leader before it")


class TermPage(Page):
    items: list[Term]

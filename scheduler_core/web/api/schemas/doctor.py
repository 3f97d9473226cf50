"""What the doctor finds."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from scheduler_core.web.api.schemas.base import ResponseModel


class Finding(ResponseModel):
    kind: str = Field(examples=["overdue"])
    subject: str
    detail: str | None


class Examination(ResponseModel):
    """What the doctor found. `healthy`: nothing wants a look but pauses and reverts, which somebody wished."""

    healthy: bool
    facts: dict[str, Any]
    findings: list[Finding]

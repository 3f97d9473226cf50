"""What an auditor's question is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What is asked about: one job (None: all), a window (None: open), and the most rows to list."""

    job_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100

"""How a job stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What is known of a job's state: from memory (`get_job_status`) or from the database (`fetch_job_status`)."""

    job_id: str
    name: str
    enabled: bool
    last_run: datetime | None
    next_run: datetime | None
    run_count: int
    error_count: int
    consecutive_failures: int
    running: bool
    paused: bool
    last_status: str | None
    last_error: str | None

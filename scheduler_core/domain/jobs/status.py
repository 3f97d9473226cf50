"""How a job stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What is known of a job's state: from memory (`get_job_status`) or from the database (`fetch_job_status`).

    Attributes:
        job_id: Which job.
        name: For people.
        enabled: False for a job that its definition disables, that failures have disabled, or that has finished.
        last_run: When the latest run that was counted began; None before the first.
        next_run: The next occurrence; None when there is none.
        run_count: Runs that have ended: succeeded, failed or lost.
        error_count: Attempts that failed.
        consecutive_failures: Runs that failed or were lost since the last that succeeded.
        running: Whether a run of the job executes.
        paused: Whether an operator has paused it.
        last_status: How its latest run ended; None before the first end.
        last_error: The latest failure, its type and message; None before the first.
    """

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

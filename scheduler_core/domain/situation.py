"""How the scheduler stands as a whole: what a scrape and the dashboard count, and how far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

COUNTED_AT_MOST = 10_000
"""Where counting all would read all, counting ends here: people are told "more than", and no alarm gets louder."""


@dataclass(frozen=True, slots=True)
class Situation:
    """How the scheduler stands as a whole, by Postgres; counts end at COUNTED_AT_MOST."""

    term: int
    is_led: bool
    led_since: datetime | None
    last_leaderless_seconds: float | None
    replicas: int
    eligible_replicas: int
    overdue_jobs: int
    most_overdue_seconds: float
    pending: int
    queued: int
    running: int
    retrying: int
    uncallable: int
    """Runs that wait for a replica that can call them."""
    history_ahead_seconds: float | None
    """Until the last partition of the run history ends; None: it has none."""

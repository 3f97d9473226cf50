"""Which runs are meant: what listings, exports and bulk commands filter by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs: of one job, with certain statuses, `scheduled_for` from `since` on and before `until`."""

    job_id: str | None = None
    statuses: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs of a window that is bounded on both sides, as an export needs it."""

    since: datetime
    until: datetime
    job_id: str | None = None
    statuses: tuple[str, ...] | None = None

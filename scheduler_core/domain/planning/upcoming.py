"""The occurrences that come next, as people read them: UTC, local time, and what there is to say about each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from scheduler_core.domain.calendars.calendars import Exclusions
from scheduler_core.domain.planning.segments import allowed_occurrences
from scheduler_core.domain.schedule import Schedule
from scheduler_core.domain.schedule.dst_notes import dst_note
from scheduler_core.domain.schedule.zone import find_zone


@dataclass(frozen=True, slots=True)
class Upcoming:
    """One occurrence: the instant in UTC and on the job's wall clock, how many calendars leave out before it."""

    utc: datetime
    local: datetime
    left_out: int
    note: str | None

    def as_row(self) -> dict[str, Any]:
        """As listings and the API show it."""
        return {"utc": self.utc, "local": self.local.isoformat(), "left_out": self.left_out, "note": self.note}


def upcoming(
    schedule: Schedule, exclusions: Exclusions, first: datetime | None, until: datetime, count: int, timezone: str
) -> list[Upcoming]:
    """The next occurrences that the calendars allow, at most `count`.

    Parameters: first, the occurrence to begin with (None: there is none); until, how far to look; timezone, the
    IANA name of the job's zone.
    """
    zone = find_zone(timezone).info
    return [
        Upcoming(instant, instant.astimezone(zone), left_out, dst_note(schedule, instant))
        for instant, left_out in islice(allowed_occurrences(schedule, exclusions, first, until), count)
    ]

"""ONCE: a single instant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scheduler_core.domain.schedule.base import EPOCH, Schedule, from_micros


@dataclass(frozen=True, slots=True)
class OnceSchedule(Schedule):
    """The one instant `instant`, in microseconds since 1970-01-01 UTC."""

    instant: int

    def first(self, now: datetime) -> datetime | None:
        """The instant itself, also when it is past: a job that was to run once still is to run once."""
        return from_micros(self.instant) if self.start <= self.instant <= self.end else None

    def _next(self, after: int) -> int | None:
        return self.instant if self.instant > after else None

    def _last(self, until: int) -> int | None:
        return self.instant if self.instant <= until else None

    def _count(self, after: int, until: int) -> int:
        return int(after < self.instant <= until)


def is_same_once(one: Schedule, other: Schedule) -> bool:
    """Whether both have one and the same occurrence."""
    if not isinstance(one, OnceSchedule) or not isinstance(other, OnceSchedule):
        return False
    instant = one.first(EPOCH)
    return instant is not None and instant == other.first(EPOCH)

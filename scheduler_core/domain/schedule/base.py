"""What every schedule is: its kinds, its four questions, its bounds, its integers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import TypeAlias

from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.wording import shown

SECOND = 1_000_000
"""In microseconds, the unit of every integer instant here: microseconds since 1970-01-01 UTC."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

EARLIEST = (datetime(1900, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND
LATEST = (datetime(9000, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND
"""Occurrences lie between these two; the margin to `datetime.max` spares every sum a check for overflow."""


Times: TypeAlias = str | time | list[str] | list[time] | tuple[str | time, ...] | set[str] | frozenset[str]
"""Times of day: "HH:MM", "HH:MM:SS" or a naive `time`, or several."""

ScheduleValue: TypeAlias = float | timedelta | datetime | Times | None
"""What a `schedule_value` may be, over all types; docs/schedules.md says which is for which."""


class ScheduleType(StrEnum):
    """The kinds of schedule; docs/schedules.md says what `schedule_value` is for each."""

    INTERVAL = "interval"
    DAILY = "daily"
    ONCE = "once"
    CRON = "cron"


class Dst(StrEnum):
    """What DAILY and CRON do with wall times that a change of the UTC offset skips or repeats.

    A cron expression with a wildcard (a field that starts with `*`) in hour or minute is a rhythm rather
    than a time of day: as in Debian's cron it follows elapsed time under each of the three.
    """

    ONCE = "once"
    """A skipped wall time fires at the first valid instant after the gap, a repeated one at the first."""
    SKIP = "skip"
    """A skipped wall time does not fire, a repeated one fires at the first."""
    BOTH = "both"
    """A skipped wall time fires at the first valid instant after the gap, a repeated one fires twice."""


def to_micros(instant: datetime) -> int:
    """An aware datetime as microseconds since 1970-01-01 UTC; a naive one is an InvalidScheduleError."""
    if instant.tzinfo is None or instant.utcoffset() is None:
        raise InvalidScheduleError(
            f"The instant {shown(instant.isoformat())} has no time zone: give an aware datetime, "
            "for example datetime.now(UTC)."
        )
    return (instant - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Microseconds since 1970-01-01 UTC as an aware datetime in UTC."""
    return EPOCH + timedelta(microseconds=micros)


@dataclass(frozen=True, slots=True)
class Schedule(ABC):
    """The instants at which a job is due, within its bounds.

    `start` and `end` are the bounds `start_at` and `end_at`, both inclusive, in microseconds since
    1970-01-01 UTC. The methods take aware datetimes in any zone (naive: InvalidScheduleError) and return
    them in UTC.
    """

    start: int
    end: int

    def next_after(self, instant: datetime) -> datetime | None:
        """The earliest occurrence strictly after `instant`; None when there is none."""
        found = self._next(max(to_micros(instant), self.start - 1))
        return None if found is None or found > self.end else from_micros(found)

    def last_until(self, instant: datetime) -> datetime | None:
        """The latest occurrence at or before `instant`; None when there is none."""
        found = self._last(min(to_micros(instant), self.end))
        return None if found is None or found < self.start else from_micros(found)

    def count(self, after: datetime, until: datetime) -> int:
        """How many occurrences lie in (after, until]; 0 when `until` is not later than `after`."""
        low = max(to_micros(after), self.start - 1)
        high = min(to_micros(until), self.end)
        return self._count(low, high) if high > low else 0

    @property
    def is_empty(self) -> bool:
        """Whether there is no occurrence at all."""
        found = self._last(self.end)
        return found is None or found < self.start

    def first(self, now: datetime) -> datetime | None:
        """The first occurrence for a job that is stored at `now`: the earliest after both `now` and its
        start.
        """
        return self.next_after(now)

    @abstractmethod
    def _next(self, after: int) -> int | None:
        """The earliest occurrence > after, regardless of `end`."""

    @abstractmethod
    def _last(self, until: int) -> int | None:
        """The latest occurrence <= until, regardless of `start`."""

    @abstractmethod
    def _count(self, after: int, until: int) -> int:
        """How many occurrences are > after and <= until; after < until."""

"""The span that is simulated: whole days of local time, cut into its hours."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.schedule.base import EPOCH
from scheduler_core.domain.schedule.zone import DAY, find_zone

HOURS = 24

LAST_YEAR = 9_900
"""Zones and calendars know no end, but Python's years do; an instant and its neighbours must fit."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day of local time. `edges` are 25 instants: the hour h lies between edges[h] and edges[h + 1].

    An hour that the clock skips is empty, and one that it shows twice is two hours long.
    """

    date: date
    edges: tuple[datetime, ...]

    @property
    def since(self) -> datetime:
        return self.edges[0]

    @property
    def until(self) -> datetime:
        return self.edges[-1]

    def hour_of(self, instant: datetime) -> int:
        """In which hour of this day an instant lies."""
        return min(HOURS - 1, bisect_right(self.edges, instant) - 1)


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive days in one time zone."""

    days: tuple[Day, ...]
    timezone: str

    @property
    def since(self) -> datetime:
        return self.days[0].since

    @property
    def until(self) -> datetime:
        return self.days[-1].until

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()

    def local(self, instant: datetime) -> datetime:
        """The instant as the clocks of the span's zone show it."""
        return instant.astimezone(find_zone(self.timezone).info)


def make_span(first: date, days: int, timezone: str) -> Span:
    """`days` whole days from `first` on, in an IANA time zone.

    Raises InvalidScheduleError for an unknown one, and for days beyond those that a schedule can fire on.
    """
    if first.year + days // 365 >= LAST_YEAR:
        raise InvalidScheduleError(
            f"{days} days from {first} reach beyond what schedules know: begin before {LAST_YEAR}"
        )
    return Span(tuple(_day(first + timedelta(days=number), timezone) for number in range(days)), timezone)


def _day(day: date, timezone: str) -> Day:
    zone = find_zone(timezone)
    midnight = (datetime(day.year, day.month, day.day, tzinfo=UTC) - EPOCH) // timedelta(seconds=1)
    edges = []
    for wall in range(midnight, midnight + DAY + 1, DAY // HOURS):
        instant = zone.instant_of(wall)
        assert instant is not None
        edges.append(EPOCH + timedelta(seconds=instant))
    return Day(day, tuple(edges))

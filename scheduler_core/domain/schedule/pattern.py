"""Wall-clock patterns: days x times of day, on a wall that no zone has touched yet.

Walls are integers: seconds since 1970-01-01 00:00 of the wall; days are wall // 86400.
"""

from __future__ import annotations

from bisect import bisect_left
from calendar import isleap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

from scheduler_core.domain.schedule.zone import DAY

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_MONTH_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FIRST_YEAR, _LAST_YEAR = 1899, 9000
"""One more on either side than the years that schedules know."""


class Times(Protocol):
    """A sorted set of seconds of the day."""

    def __len__(self) -> int: ...

    def at(self, index: int) -> int:
        """The time of that index, 0 the earliest."""

    def rank(self, second: int) -> int:
        """How many times are earlier than `second`."""

    def shortest_gap(self) -> int | None:
        """The fewest seconds from one to the next, on one day; None where there is but one."""


class Days(Protocol):
    """A set of days, as day numbers since 1970-01-01."""

    def next(self, day: int) -> int | None:
        """The earliest day >= day."""

    def last(self, day: int) -> int | None:
        """The latest day <= day."""

    def count(self, start: int, end: int) -> int:
        """How many days are >= start and < end."""

    def shortest_gap(self) -> int | None:
        """The fewest days from one to the next, anywhere; None where there is but one."""


@dataclass(frozen=True, slots=True)
class TimeList:
    """Times as a sorted tuple of distinct seconds of the day."""

    seconds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.seconds)

    def at(self, index: int) -> int:
        return self.seconds[index]

    def rank(self, second: int) -> int:
        return bisect_left(self.seconds, second)

    def shortest_gap(self) -> int | None:
        return _shortest(self.seconds)


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """Every combination of the given hours, minutes and seconds, each sorted: 86,400 times in 144 numbers."""

    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    seconds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.hours) * len(self.minutes) * len(self.seconds)

    def at(self, index: int) -> int:
        index, second = divmod(index, len(self.seconds))
        hour, minute = divmod(index, len(self.minutes))
        return self.hours[hour] * 3600 + self.minutes[minute] * 60 + self.seconds[second]

    def rank(self, second: int) -> int:
        hour, rest = divmod(second, 3600)
        minute, second = divmod(rest, 60)
        at_hour = bisect_left(self.hours, hour)
        rank = at_hour * len(self.minutes) * len(self.seconds)
        if at_hour == len(self.hours) or self.hours[at_hour] != hour:
            return rank
        at_minute = bisect_left(self.minutes, minute)
        rank += at_minute * len(self.seconds)
        if at_minute == len(self.minutes) or self.minutes[at_minute] != minute:
            return rank
        return rank + bisect_left(self.seconds, second)

    def shortest_gap(self) -> int | None:
        minutes, hours = _shortest(self.minutes), _shortest(self.hours)
        # From the last second of a minute to the first of the next one that is named, and so with hours.
        within_minute = self.seconds[-1] - self.seconds[0]
        within_hour = (self.minutes[-1] - self.minutes[0]) * 60 + within_minute
        gaps = (
            _shortest(self.seconds),
            None if minutes is None else minutes * 60 - within_minute,
            None if hours is None else hours * 3600 - within_hour,
        )
        return min((gap for gap in gaps if gap is not None), default=None)


@dataclass(frozen=True, slots=True)
class EveryDay:
    """All days."""

    def next(self, day: int) -> int | None:
        return day

    def last(self, day: int) -> int | None:
        return day

    def count(self, start: int, end: int) -> int:
        return end - start

    def shortest_gap(self) -> int | None:
        return 1


@dataclass(frozen=True, slots=True, eq=False)
class MonthDays:
    """Days of certain months for which `matches` holds. Equal only to itself: functions can't be compared.

    `matches` may look at the day of the month, the weekday and the length of the month, nothing else. So a
    month is known by the weekday of its first day and its length: 28 kinds, each looked through once.
    """

    months: tuple[int, ...]
    matches: Callable[[date], bool]
    _kinds: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict, repr=False)
    _year_kinds: dict[tuple[int, bool], int] = field(default_factory=dict, repr=False)

    def is_empty(self) -> bool:
        """Whether no day in all the calendar's 400-year cycle matches."""
        # 2000 to 2027 has every month begin on every weekday, leap years included.
        return not any(self._days(year, month)[1] for year in range(2000, 2028) for month in self.months)

    def next(self, day: int) -> int | None:
        at = date.fromordinal(day + _EPOCH_ORDINAL)
        for year in range(at.year, _LAST_YEAR + 1):
            for month in self.months:
                if year == at.year and month < at.month:
                    continue
                first, days = self._days(year, month)
                index = bisect_left(days, day - first + 1)
                if index < len(days):
                    return first + days[index] - 1
        return None

    def last(self, day: int) -> int | None:
        at = date.fromordinal(day + _EPOCH_ORDINAL)
        for year in range(at.year, _FIRST_YEAR - 1, -1):
            for month in reversed(self.months):
                if year == at.year and month > at.month:
                    continue
                first, days = self._days(year, month)
                index = bisect_left(days, day - first + 2)
                if index > 0:
                    return first + days[index - 1] - 1
        return None

    def count(self, start: int, end: int) -> int:
        first = date.fromordinal(start + _EPOCH_ORDINAL)
        last = date.fromordinal(end + _EPOCH_ORDINAL)
        whole_years = sum(self._count_year(year) for year in range(first.year, last.year))
        return whole_years + self._count_in_year(last, end) - self._count_in_year(first, start)

    def shortest_gap(self) -> int | None:
        # In 28 years a year of each kind is followed by one of each kind that may follow it.
        shortest, day = None, self.next(date(2000, 1, 1).toordinal() - _EPOCH_ORDINAL)
        until = date(2029, 1, 1).toordinal() - _EPOCH_ORDINAL
        while shortest != 1 and day is not None and (following := self.next(day + 1)) is not None and day < until:
            shortest = following - day if shortest is None else min(shortest, following - day)
            day = following
        return shortest

    def _count_in_year(self, at: date, day: int) -> int:
        """How many days match from the beginning of the year of `at`, which is `day`, to it, exclusive."""
        total = 0
        for month in self.months:
            if month > at.month:
                break
            first, days = self._days(at.year, month)
            total += bisect_left(days, day - first + 1)
        return total

    def _count_year(self, year: int) -> int:
        kind = (date(year, 1, 1).weekday(), isleap(year))
        count = self._year_kinds.get(kind)
        if count is None:
            count = self._year_kinds[kind] = sum(len(self._days(year, month)[1]) for month in self.months)
        return count

    def _days(self, year: int, month: int) -> tuple[int, tuple[int, ...]]:
        """The day number of the month's first day, and the matching days of the month."""
        ordinal = date(year, month, 1).toordinal()
        length = 29 if month == 2 and isleap(year) else _MONTH_LENGTHS[month]
        kind = (ordinal % 7, length)
        days = self._kinds.get(kind)
        if days is None:
            days = tuple(day for day in range(1, length + 1) if self.matches(date(year, month, day)))
            self._kinds[kind] = days
        return ordinal - _EPOCH_ORDINAL, days


@dataclass(frozen=True, slots=True)
class WallPattern:
    """The walls `day x 86400 + time` of all its days and times."""

    days: Days
    times: Times

    def next(self, wall: int) -> int | None:
        """The earliest matching wall >= wall."""
        start, second = divmod(wall, DAY)
        day = self.days.next(start)
        if day is None:
            return None
        index = self.times.rank(second) if day == start else 0
        if index == len(self.times):
            index = 0
            day = self.days.next(start + 1)
            if day is None:
                return None
        return day * DAY + self.times.at(index)

    def last(self, wall: int) -> int | None:
        """The latest matching wall <= wall."""
        start, second = divmod(wall, DAY)
        day = self.days.last(start)
        if day is None:
            return None
        index = (self.times.rank(second + 1) if day == start else len(self.times)) - 1
        if index < 0:
            index = len(self.times) - 1
            day = self.days.last(start - 1)
            if day is None:
                return None
        return day * DAY + self.times.at(index)

    def count(self, start: int, end: int) -> int:
        """How many matching walls are >= start and < end."""
        if end <= start:
            return 0
        first, second = divmod(start, DAY)
        last, end_second = divmod(end, DAY)
        total = self.days.count(first, last) * len(self.times)
        if second and self.days.count(first, first + 1):
            total -= self.times.rank(second)
        if end_second and self.days.count(last, last + 1):
            total += self.times.rank(end_second)
        return total

    def shortest_gap(self) -> int | None:
        """The fewest seconds from one wall to the next, anywhere; None where there is but one."""
        return _shortest_gap(self)


@lru_cache(maxsize=4_096)
def _shortest_gap(pattern: WallPattern) -> int | None:
    times, days = pattern.times, pattern.days.shortest_gap()
    over_night = None if days is None else days * DAY - (times.at(len(times) - 1) - times.at(0))
    return min((gap for gap in (times.shortest_gap(), over_night) if gap is not None), default=None)


def _shortest(numbers: Sequence[int]) -> int | None:
    return min((after - before for before, after in pairwise(numbers)), default=None)

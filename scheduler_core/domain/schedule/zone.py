"""Time zones as periods of constant UTC offset, in integer seconds.

`zoneinfo` answers one instant at a time and doesn't tell its transitions, so they are found by sampling and
bisection, once for each stretch of about a year, and kept. Everything else is integer arithmetic: an instant
u (seconds since 1970-01-01 UTC) in a period of offset o shows the wall time u + o (seconds since 1970-01-01
00:00 of that wall).
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from scheduler_core.domain.errors import InvalidScheduleError, UnknownZoneError
from scheduler_core.domain.schedule.base import EARLIEST, EPOCH, LATEST, SECOND, to_micros
from scheduler_core.domain.schedule.zone_hints import zone_hint
from scheduler_core.domain.wording import shown
from scheduler_core.support.zone_data import zone_data

DAY = 86_400
"""In seconds. UTC offsets are smaller than this either way (datetime refuses others)."""

_STRETCH = 1 << 25
"""Seconds, about 388 days: what is sampled at once."""

_SAMPLING = 36 * 3600
"""Seconds between samples. No offset since 1900, in any zone of tzdata 2026, lasted less than 95 hours."""

_MIN_SECOND = EARLIEST // SECOND
_MAX_SECOND = LATEST // SECOND


class Period(NamedTuple):
    """A stretch of constant offset: instants start <= u < end, in seconds.

    `frontier` is the first wall time that no clock in the zone had shown before `start`: larger than
    `start + offset` after the clock went back, smaller where it jumped forward over a gap.
    """

    start: int
    end: int
    offset: int
    frontier: int


class Zone:
    """A time zone by its name; compare by identity, as `find_zone` makes one for each name."""

    __slots__ = ("_stretches", "info", "name")

    def __init__(self, name: str, info: ZoneInfo) -> None:
        self.name = name
        self.info = info
        """For what people are shown; from the same data as all the rest."""
        self._stretches: dict[int, tuple[list[int], list[Period]]] = {}

    def __repr__(self) -> str:
        return f"Zone({self.name!r})"

    def period(self, second: int) -> Period | None:
        """The period of the instant `second` (since 1970-01-01 UTC); None outside the years 1900 to 8999.

        A long period comes in several pieces: the next one starts where this one ends.
        """
        if not _MIN_SECOND <= second <= _MAX_SECOND:
            return None
        key = second // _STRETCH
        known = self._stretches.get(key)
        if known is None:
            periods = self._find_periods(key * _STRETCH, (key + 1) * _STRETCH)
            known = self._stretches[key] = ([period.start for period in periods], periods)
        starts, periods = known
        return periods[bisect_right(starts, second) - 1]

    def instant_of(self, wall: int) -> int | None:
        """The first instant that shows the wall time `wall` or, where that one is skipped, a later one."""
        second = max(wall - DAY, _MIN_SECOND)
        while (period := self.period(second)) is not None:
            if wall < period.end + period.offset:
                return max(period.start, wall - period.offset)
            second = period.end
        return None

    def to_utc(self, naive: datetime) -> datetime:
        """A naive wall time as an aware datetime in UTC.

        One that doesn't exist is the first valid instant after the gap; one that exists twice is the first,
        unless its `fold` is 1. Raises InvalidScheduleError outside the years 1900 to 8999.
        """
        whole = naive.replace(microsecond=0, fold=0, tzinfo=EPOCH.tzinfo)
        second = self.instant_of(to_micros(whole) // SECOND)
        if second is None or not 1900 <= naive.year < 9000:
            raise InvalidScheduleError(
                f"The instant {shown(naive.isoformat())} is out of range: give one in the years 1900 to 8999."
            )
        if naive.fold:
            # zoneinfo knows the second instant of a repeated wall time; for any other both agree or it is a
            # gap.
            later = naive.replace(tzinfo=self.info, microsecond=0)
            as_utc = later.astimezone(EPOCH.tzinfo)
            if as_utc.astimezone(self.info).replace(fold=0, tzinfo=None) == whole.replace(tzinfo=None):
                second = to_micros(as_utc) // SECOND
        exists = self._offset(second) + second == to_micros(whole) // SECOND
        # The fraction of a second belongs to a wall time that exists, not to the end of a gap.
        return EPOCH + timedelta(seconds=second, microseconds=naive.microsecond if exists else 0)

    def _offset(self, second: int) -> int:
        offset = (EPOCH + timedelta(seconds=second)).astimezone(self.info).utcoffset()
        assert offset is not None
        return offset.days * DAY + offset.seconds

    def _find_periods(self, start: int, end: int) -> list[Period]:
        # Offsets lie within a day either way of zero, so walls shown two days before can't reach beyond
        # `start`.
        second = start - 2 * DAY
        offset = self._offset(second)
        frontier = second + offset
        periods: list[Period] = []
        while second < end:
            change, next_offset = self._next_change(second, offset, end)
            if change > start:
                cut = max(second, start)
                reached = frontier if cut == second else max(frontier, cut + offset)
                periods.append(Period(cut, change, offset, reached))
            frontier = max(frontier, change + offset)
            second, offset = change, next_offset
        return periods

    def _next_change(self, second: int, offset: int, end: int) -> tuple[int, int]:
        """The first instant after `second` with another offset, and that offset; `end` when there is none
        before.
        """
        low = second
        while low < end:
            high = min(low + _SAMPLING, end)
            found = self._offset(high)
            if found != offset:
                return self._bisect_change(low, high, offset)
            low = high
        return end, offset

    def _bisect_change(self, low: int, high: int, offset: int) -> tuple[int, int]:
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == offset:
                low = middle
            else:
                high = middle
        return high, self._offset(high)


def find_zone(name: str) -> Zone:
    """The zone of that IANA name. Raises UnknownZoneError, with what to write instead, when there is none."""
    found = _look_up(name) if isinstance(name, str) else _problem(name)
    if isinstance(found, str):
        raise UnknownZoneError(found, name if isinstance(name, str) else shown(name))
    return found


@lru_cache(maxsize=1024)
def _look_up(name: str) -> Zone | str:
    """The zone, or what there is to say; kept as well, for many rows may name a zone that there is not."""
    info = zone_data().load(name)
    return _problem(name) if info is None else Zone(name, info)


def _problem(name: object) -> str:
    hint = zone_hint(name)
    return f"There is no time zone {shown(name)}: {hint}{'' if hint.endswith('?') else '.'}"


def is_zone(name: object) -> bool:
    """Whether the data of this process has a zone of that name."""
    return isinstance(name, str) and isinstance(_look_up(name), Zone)


def check_timezone(name: str) -> str:
    """`name` itself when it names a time zone. Raises InvalidScheduleError, with names that are near, when
    not.
    """
    return find_zone(name).name

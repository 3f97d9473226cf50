"""Named calendars: when the jobs that name one do not fire.

A calendar only ever excludes: whole dates (holidays) and weekdays, both in the time zone of the job that names it,
and periods between two instants (blackouts). Business days are nothing else than excluded weekends and holidays. Of
several calendars that a job names each must allow an occurrence. A calendar changes no schedule: an excluded
occurrence is one still, and is accounted for as `skipped / calendar`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from scheduler_core.domain.calendars import fields as check
from scheduler_core.domain.schedule.base import EPOCH, to_micros
from scheduler_core.domain.schedule.zone import DAY, Zone, find_zone

SATURDAY_AND_SUNDAY = ("sat", "sun")

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_SECOND = timedelta(seconds=1)

Dates = Mapping[date | str, str] | Iterable[date | str]
Periods = Iterable[tuple[datetime | str, datetime | str]]


@dataclass(frozen=True, slots=True, init=False)
class Calendar:
    """When the jobs that name this calendar do not fire.

    Dates and weekdays are days of the job's time zone. Two calendars that mean the same are equal.

    Args:
        name: 1 to 200 printable characters.
        excluded_dates: Dates or ISO strings, or a mapping of them to what they are called; at most 20,000.
        excluded_weekdays: Of "mon" to "sun", not all seven.
        excluded_periods: Pairs of aware instants, the first excluded and the second not; kept in UTC, sorted, those
            that touch made one; at most 10,000.
        note: For people.

    Raises:
        InvalidCalendarError: One of them can't be accepted.
    """

    name: str
    excluded_dates: Mapping[date, str] = field(hash=False)
    excluded_weekdays: tuple[str, ...]
    excluded_periods: tuple[tuple[datetime, datetime], ...]
    note: str | None

    def __init__(
        self,
        name: str,
        excluded_dates: Dates = (),
        excluded_weekdays: Iterable[str] = (),
        excluded_periods: Periods = (),
        note: str | None = None,
    ) -> None:
        kept = check.check_calendar(
            name=name,
            excluded_dates=excluded_dates,
            excluded_weekdays=excluded_weekdays,
            excluded_periods=excluded_periods,
            note=note,
        )
        for key, value in kept.items():
            object.__setattr__(self, key, value)

    @classmethod
    def business_days(
        cls,
        name: str,
        holidays: Dates = (),
        *,
        weekend: Iterable[str] = SATURDAY_AND_SUNDAY,
        note: str | None = None,
    ) -> Calendar:
        """A calendar that leaves the days between weekends that are no holidays.

        Args:
            name: 1 to 200 printable characters.
            holidays: Dates or ISO strings, or a mapping of them to what they are called.
            weekend: Of "mon" to "sun", not all seven.
            note: For people.

        Returns:
            The calendar.

        Raises:
            InvalidCalendarError: One of them can't be accepted.
        """
        return cls(name, holidays, weekend, note=note)

    def allows(self, instant: datetime, timezone: str) -> bool:
        """Whether a job fires at an instant, as far as this calendar says.

        Args:
            instant: An aware instant.
            timezone: The job's, an IANA name.

        Returns:
            False if the instant is excluded.

        Raises:
            InvalidScheduleError: There is no zone of this name.
        """
        return not Exclusions((self,), find_zone(timezone)).excludes(instant)

    def excludes_day(self, day: date) -> bool:
        """Whether a whole day of the job's time zone is excluded.

        Args:
            day: The day.

        Returns:
            True for an excluded date or weekday; periods are not looked at.
        """
        return day in self.excluded_dates or check.WEEKDAYS[day.weekday()] in self.excluded_weekdays

    def united(self, other: Calendar) -> Calendar:
        """What either of them excludes, under this one's name.

        Args:
            other: The calendar to add. Of two names for a date its own stands, and its note, if it has one.

        Returns:
            A new calendar.

        Raises:
            InvalidCalendarError: Together they exclude more than a calendar may, as all seven weekdays.
        """
        dates: dict[date | str, str] = dict(self.excluded_dates.items())
        dates.update({day: text for day, text in other.excluded_dates.items() if text or day not in dates})
        return Calendar(
            self.name,
            dates,
            (*self.excluded_weekdays, *other.excluded_weekdays),
            (*self.excluded_periods, *other.excluded_periods),
            other.note or self.note,
        )

    def without(self, other: Calendar) -> Calendar:
        """This calendar without the dates, weekdays and whole periods that the other one has.

        Args:
            other: The calendar to take away.

        Returns:
            A new calendar.
        """
        return Calendar(
            self.name,
            {day: text for day, text in self.excluded_dates.items() if day not in other.excluded_dates},
            [weekday for weekday in self.excluded_weekdays if weekday not in other.excluded_weekdays],
            [period for period in self.excluded_periods if period not in other.excluded_periods],
            self.note,
        )


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What the calendars of one job exclude together, in the job's time zone."""

    calendars: tuple[Calendar, ...]
    zone: Zone

    def excludes(self, instant: datetime) -> bool:
        """Whether one of the calendars excludes the instant (aware)."""
        if not self.calendars:
            return False
        if any(_period_at(calendar, instant) is not None for calendar in self.calendars):
            return True
        day, _ = self._day(instant)
        return day is not None and any(calendar.excludes_day(day) for calendar in self.calendars)

    def edge_after(self, instant: datetime, limit: datetime) -> datetime:
        """The first instant after `instant` at which allowed turns into excluded or back; `limit` if it comes first.

        Goes from one end of a day or period to the next, whatever the schedule: a year is some 365 steps.
        """
        if not self.calendars:
            return limit
        excluded = self.excludes(instant)
        at = self._next_boundary(instant, limit)
        while at < limit and self.excludes(at) == excluded:
            at = self._next_boundary(at, limit)
        return at

    def _next_boundary(self, instant: datetime, limit: datetime) -> datetime:
        boundary = limit
        if any(calendar.excluded_dates or calendar.excluded_weekdays for calendar in self.calendars):
            _, end = self._day(instant)
            boundary = min(boundary, end or limit)
        for calendar in self.calendars:
            period = _period_at(calendar, instant)
            if period is not None:
                boundary = min(boundary, period[1])
            else:
                index = bisect_right(calendar.excluded_periods, instant, key=_start)
                if index < len(calendar.excluded_periods):
                    boundary = min(boundary, calendar.excluded_periods[index][0])
        return boundary

    def _day(self, instant: datetime) -> tuple[date | None, datetime | None]:
        """The date that the zone's clock shows, and when that ends; None outside the years 1900 to 8999.

        A change of the UTC offset ends a day as well: a clock that goes back over midnight (St. John's, until
        2011) shows the rest of the day before once more.
        """
        second = to_micros(instant) // 1_000_000
        period = self.zone.period(second)
        if period is None:
            return None, None
        day = (second + period.offset) // DAY
        end = min((day + 1) * DAY - period.offset, period.end)
        return date.fromordinal(day + _EPOCH_ORDINAL), EPOCH + end * _SECOND


def _period_at(calendar: Calendar, instant: datetime) -> tuple[datetime, datetime] | None:
    index = bisect_right(calendar.excluded_periods, instant, key=_start) - 1
    if index >= 0 and instant < calendar.excluded_periods[index][1]:
        return calendar.excluded_periods[index]
    return None


def _start(period: tuple[datetime, datetime]) -> datetime:
    return period[0]

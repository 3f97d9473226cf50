"""What each field of a calendar may be, and the lists of dates that people keep in files.

The checks raise ValueError, also for a wrong type, as those of a job's fields do.
"""
# ruff: noqa: TRY004

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from scheduler_core.domain.errors import InvalidCalendarError
from scheduler_core.domain.jobs.fields import check_name, check_text
from scheduler_core.domain.schedule import read_moment
from scheduler_core.domain.wording import did_you_mean, shown

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In the order of `date.weekday`. Names, because numbers mean other days to cron, to ISO and to Python."""

_LONG_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

MAX_DATES = 20_000
MAX_PERIODS = 10_000
_MOST_NOTE = 200

_LINE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[\s,;#]+(.*))?")


def check_calendar(
    *, name: Any, excluded_dates: Any, excluded_weekdays: Any, excluded_periods: Any, note: Any
) -> dict[str, Any]:
    """Check every field of a calendar; return what is kept of each.

    Raises InvalidCalendarError with every problem in one line.
    """
    given = {
        "name": (check_name, name),
        "excluded_dates": (check_dates, excluded_dates),
        "excluded_weekdays": (check_weekdays, excluded_weekdays),
        "excluded_periods": (check_periods, excluded_periods),
        "note": (lambda text: None if text is None else check_text(text), note),
    }
    kept: dict[str, Any] = {}
    problems: list[str] = []
    for key, (check, value) in given.items():
        try:
            kept[key] = check(value)
        except ValueError as error:
            problems.append(f"{key}: {str(error).rstrip('.')}")
    if problems:
        raise InvalidCalendarError(f"The calendar {shown(name)} can't be accepted: {'; '.join(problems)}.")
    return kept


def check_dates(value: Any) -> dict[date, str]:
    """Dates in order, each with its name or ""."""
    items = value.items() if isinstance(value, Mapping) else ((day, "") for day in _list(value, "dates"))
    dates: dict[date, str] = {}
    for key, text in items:
        if not isinstance(text, str):
            raise ValueError(f"the name of {shown(key)} can't be {shown(text)}, give a string")
        clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MOST_NOTE]
        dates[_date(key)] = clean
        if len(dates) > MAX_DATES:
            raise ValueError(f"has more than {MAX_DATES} dates, use weekdays or periods")
    return dict(sorted(dates.items()))


def check_weekdays(value: Any) -> tuple[str, ...]:
    """Weekdays from "mon" to "sun", each once, in that order; longer names count as well."""
    chosen: set[str] = set()
    for item in _list(value, "weekdays"):
        word = item.strip().lower() if isinstance(item, str) else ""
        name = word[:3]
        if name not in WEEKDAYS or word not in (name, _LONG_WEEKDAYS[WEEKDAYS.index(name)]):
            raise ValueError(f"has {shown(item)}{did_you_mean(item, WEEKDAYS)}, give some of {', '.join(WEEKDAYS)}")
        chosen.add(name)
    if len(chosen) == len(WEEKDAYS):
        raise ValueError("has all seven days, so that no job would ever fire: pause the jobs instead")
    return tuple(name for name in WEEKDAYS if name in chosen)


def check_periods(value: Any) -> tuple[tuple[datetime, datetime], ...]:
    """Periods in UTC, in order; those that overlap or touch are made one."""
    periods: list[tuple[datetime, datetime]] = []
    for item in _list(value, "periods"):
        if not isinstance(item, (list, tuple)) or len(item) != 2:
            raise ValueError(f"has {shown(item)}, give pairs of instants (from, until)")
        start, until = _instant(item[0]), _instant(item[1])
        if start >= until:
            raise ValueError(f"has a period from {start.isoformat()} until {until.isoformat()}, give a later end")
        periods.append((start, until))
        if len(periods) > MAX_PERIODS:
            raise ValueError(f"has more than {MAX_PERIODS} periods, use dates or weekdays")
    merged: list[tuple[datetime, datetime]] = []
    for start, until in sorted(periods):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
        else:
            merged.append((start, until))
    return tuple(merged)


def parse_dates(text: str) -> dict[date, str]:
    """The dates of a file: an ISO date per line, then its name if it has one; `#` begins a comment.

    Raises InvalidCalendarError, naming the line.
    """
    dates: dict[date, str] = {}
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        match = _LINE.fullmatch(content)
        try:
            if match is None:
                raise ValueError(f"{shown(content)} is no date, write as 2026-12-25 Christmas Day")
            dates[_date(match[1])] = (match[2] or "").strip().strip('"')
        except ValueError as error:
            raise InvalidCalendarError(f"line {number}: {error}") from None
    if not dates:
        raise InvalidCalendarError("there is no date in the file: write one per line, as 2026-12-25 Christmas Day")
    return dates


def _list(value: Any, what: str) -> Iterable[Any]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ValueError(f"can't be {shown(value)}, give a list of {what}")
    return value


def _date(value: Any) -> date:
    day = value
    if isinstance(value, str):
        try:
            day = date.fromisoformat(value.strip())
        except ValueError:
            day = None
    # A datetime is a date to isinstance, and it depends on a zone which one.
    if not isinstance(day, date) or isinstance(day, datetime) or not 1900 <= day.year < 9000:
        raise ValueError(f"{shown(value)} is no date, give one as '2026-12-25', in the years 1900 to 8999")
    return day


def _instant(value: Any) -> datetime:
    moment = read_moment(value)
    if moment is None or moment.utcoffset() is None or not 1900 < moment.year < 8999:
        raise ValueError(
            f"{shown(value)} is no instant, give one with a time zone, as '2026-12-24T18:00:00+01:00', in the years "
            "1901 to 8998"
        )
    return moment.astimezone(UTC)

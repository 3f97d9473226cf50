"""A schedule in plain words, for people.

A cron expression is told from the sets that it was read into and not from its text, so that what is said is what
fires. Where no short phrase is true, the fields are listed as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

from cronsim import CronSim

from scheduler_core.domain.schedule import ScheduleType, normalize_value
from scheduler_core.domain.schedule.base import EPOCH
from scheduler_core.domain.schedule.cron import ALIASES, read_fields

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

MOST_TIMES = 4
"""More times of day than these are told as minutes and hours."""

MOST_LISTED = 8
"""Longer lists are no plain words."""

_UNITS = ((3600, "hour"), (60, "minute"), (1, "second"))
_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd", 21: "21st", 22: "22nd", 23: "23rd"}


def plain_words(schedule_type: ScheduleType, schedule_value: Any, timezone: str = "UTC") -> str:
    """What a schedule means: `at 14:30 every day`, `every 90 seconds`.

    Parameters: timezone, an IANA name, which naive instants are in; it is not part of the phrase.
    Raises InvalidScheduleError for a value that can't be read.
    """
    value: Any = normalize_value(schedule_type, schedule_value, timezone)
    match schedule_type:
        case ScheduleType.INTERVAL:
            return _interval(value)
        case ScheduleType.DAILY:
            return _at_times([_short(time) for time in value])
        case ScheduleType.ONCE:
            return "once, at the moment at which it is first stored" if value is None else f"once, at {value}"
        case _:
            return _cron(value)


def _interval(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds % size == 0:
            count = int(seconds // size)
            return f"every {unit}" if count == 1 else f"every {count:,} {unit}s"
    return f"every {seconds} seconds"


def _at_times(times: Sequence[str]) -> str:
    if len(times) > MOST_LISTED:
        return f"at {len(times):,} times every day, the first {times[0]} and the last {times[-1]}"
    return f"at {_list(times)} every day"


def _short(time: str) -> str:
    return time.removesuffix(":00") if len(time) == 8 else time


def _cron(expression: str) -> str:
    fields = ALIASES.get(expression, expression)
    cron = CronSim(" ".join(read_fields(expression)), EPOCH)
    times = _times(cron)
    days = _days(cron)
    if times is None or days is None:
        return _fields(fields, cron)
    months = _months(cron.months)
    if months is None:
        return _fields(fields, cron)
    if not days and not months:
        # "every 5 minutes" needs no "every day".
        return times if times.startswith("every") and "past" not in times and "during" not in times else _daily(times)
    return ", ".join(part for part in (times, days, months) if part)


def _daily(times: str) -> str:
    return f"{times} every day" if times.startswith("at ") and "past" not in times else times


def _fields(expression: str, cron: CronSim) -> str:
    parts = expression.split()
    names = ("second", "minute", "hour", "month")[-len(parts) + 2 :]
    values = [*parts[:-3], parts[-2]]
    told = [f"{name} {value}" for name, value in zip(names, values, strict=True) if value != "*"]
    days = [f"{name} {value}" for name, value in (("day", parts[-3]), ("weekday", parts[-1])) if value != "*"]
    if days:
        told.append(" and ".join(days) if cron.day_and else f"either {' or '.join(days)}")
    return f"whenever the clock matches {'; '.join(told)}"


# Times of day.


def _times(cron: CronSim) -> str | None:
    seconds, minutes, hours = sorted(cron.seconds), sorted(cron.minutes), sorted(cron.hours)
    if len(seconds) * len(minutes) * len(hours) <= MOST_TIMES:
        return "at " + _list([_clock(h, m, s) for h in hours for m in minutes for s in seconds])
    during = _during("hour", hours, 24)
    if during is None:
        return None
    if seconds == [0]:
        rhythm = _rhythm(minutes, "minute")
        if rhythm is not None:
            return f"{rhythm} during {during}" if during else rhythm
        at = _during("minute", minutes, 60)
        return None if at is None else f"at {at} past {during or 'every hour'}"
    rhythm = _rhythm(seconds, "second")
    if rhythm is None:
        at = _during("second", seconds, 60)
        if at is None or len(minutes) < 60:
            return None
        return f"at {at} past every minute" + (f" during {during}" if during else "")
    if len(minutes) == 60:
        return f"{rhythm} during {during}" if during else rhythm
    within = _during("minute", minutes, 60)
    if within is None:
        return None
    return f"{rhythm} during {within} past {during or 'every hour'}"


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _rhythm(values: Sequence[int], unit: str) -> str | None:
    """`every 5 minutes`, where the values go round the clock evenly from 0; None where they don't."""
    step = 60 // len(values)
    if list(values) != list(range(0, 60, step)) or 60 % step or len(values) == 1:
        return None
    return f"every {unit}" if step == 1 else f"every {step} {unit}s"


def _during(unit: str, values: Sequence[int], whole: int) -> str | None:
    """`hours 9 to 17`; "" for all of them; None where that would be no plain words."""
    if len(values) == whole:
        return ""
    if len(values) == 1:
        return f"{unit} {values[0]}"
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{unit}s {values[0]} to {values[-1]}"
    step = values[1] - values[0]
    if len(values) > 3 and list(values) == list(range(values[0], whole, step)):
        start = "" if values[0] == 0 and whole % step == 0 else f" from {values[0]} on"
        return f"every {_ordinal(step)} {unit}{start}"
    return f"{unit}s {_list([str(value) for value in values])}" if len(values) <= MOST_LISTED else None


# Days.


def _days(cron: CronSim) -> str | None:
    """ "" for every day."""
    of_month, of_week = _month_days(cron.days), _week_days(cron.weekdays)
    if of_month is None or of_week is None:
        return None
    if of_month and of_week:
        # Debian's rule: either will do, unless one of the two begins with a star.
        return f"{of_month} if it is {of_week}" if cron.day_and else f"{of_month} or on {of_week}"
    if not cron.day_and:
        # Either will do, and one of the two is every day, written out.
        return ""
    return of_month or (_on(of_week) if of_week else "")


def _on(of_week: str) -> str:
    return of_week if " to " in of_week else f"on {of_week}"


def _month_days(days: Collection[int]) -> str | None:
    plain = sorted(day for day in days if day > 0)
    if len(plain) == 31:
        return ""
    names = []
    if len(plain) > 2 and plain == list(range(plain[0], plain[-1] + 1)):
        names.append(f"days {plain[0]} to {plain[-1]}")
    elif len(plain) > MOST_LISTED:
        return None
    elif plain:
        names.append(f"day{'s' if len(plain) > 1 else ''} {_list([str(day) for day in plain])}")
    if CronSim.LAST in days:
        names.append("the last day")
    if CronSim.LAST_WEEKDAY in days:
        names.append("the last day from Monday to Friday")
    return f"on {_list(names)} of the month"


def _week_days(weekdays: Collection[Any]) -> str | None:
    plain = sorted({item % 7 for item in weekdays if isinstance(item, int)})
    special = sorted(cast("tuple[int, int]", item) for item in weekdays if isinstance(item, tuple))
    if len(plain) == 7:
        return ""
    names = []
    # A week is told from Monday on: Saturday and Sunday are neighbours.
    order = sorted((day - 1) % 7 for day in plain)
    if len(order) > 2 and order == list(range(order[0], order[-1] + 1)):
        names.append(f"{WEEKDAYS[(order[0] + 1) % 7]} to {WEEKDAYS[(order[-1] + 1) % 7]}")
    else:
        names += [WEEKDAYS[(day + 1) % 7] for day in order]
    for day, nth in special:
        which = "last" if nth == CronSim.LAST else _ordinal(nth)
        names.append(f"the {which} {WEEKDAYS[day % 7]} of the month")
    return _list(names)


def _months(months: Collection[int]) -> str | None:
    values = sorted(months)
    if len(values) == 12:
        return ""
    if len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f"{MONTHS[values[0] - 1]} to {MONTHS[values[-1] - 1]}"
    return f"in {_list([MONTHS[month - 1] for month in values])}"


# Words.


def _ordinal(number: int) -> str:
    return _ORDINALS.get(number, f"{number}th")


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"

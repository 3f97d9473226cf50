"""CRON: expressions are read, and days matched, by cronsim, so that they mean what they mean to Debian's
cron.

Times and DST are ours: cronsim walks from instant to instant, and we count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from cronsim import CronSim, CronSimError

from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.schedule.base import EPOCH
from scheduler_core.domain.schedule.cron_hints import field_hint, whole_hint
from scheduler_core.domain.schedule.pattern import Days, EveryDay, MonthDays, TimeGrid, WallPattern
from scheduler_core.domain.wording import did_you_mean, shown

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LONGEST = 1000

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
NUMBERS = {name: number for number, name in enumerate(_MONTHS, start=1)} | {
    name: number for number, name in enumerate(_WEEKDAYS)
}
"""What names stand for: months from 1, weekdays from Sunday, 0."""

_STEPPED_RANGE = re.compile(r"(?<![^,])([0-9A-Za-z]+)-([0-9A-Za-z]+)/0*[1-9][0-9]*(?![^,])")
"""A term such as `3-5/2`, whole: between commas, or the ends of the field."""


@dataclass(frozen=True, slots=True)
class CronExpression:
    """A cron expression that was read: its pattern, and whether it follows elapsed time (see `Dst`)."""

    pattern: WallPattern
    follows_elapsed_time: bool


def normalize_expression(value: object) -> str:
    """The canonical value of a cron schedule: single spaces, aliases in lower case; fields unchecked."""
    if not isinstance(value, str):
        raise InvalidScheduleError(f"A cron expression can't be {shown(value)}: give a string such as '*/5 * * * *'.")
    if len(value) > _LONGEST:
        raise InvalidScheduleError(
            f"The cron expression {shown(value)} has {len(value)} characters: give at most {_LONGEST}."
        )
    expression = " ".join(value.split())
    return expression.lower() if expression.startswith("@") else expression


@lru_cache(maxsize=4096)
def parse_cron(expression: str) -> CronExpression:
    """Read a canonical cron expression.

    Raises InvalidScheduleError when it can't be read or matches no day of any year.
    """
    fields = read_fields(expression)
    if len(fields) not in (5, 6):
        raise _of_another_kind(expression) or InvalidScheduleError(
            f"The cron expression {shown(expression)} has {len(fields)} fields: give 5 (minute hour day "
            "month weekday), or 6 with seconds first."
        )
    if not expression.isascii():
        raise InvalidScheduleError(
            f"The cron expression {shown(expression)} has characters outside ASCII: type its fields anew."
        )
    cron = _read_fields(expression, fields)
    days = _read_days(*fields[-3:])
    if days is None:
        raise _impossible_date(expression)
    times = TimeGrid(tuple(sorted(cron.hours)), tuple(sorted(cron.minutes)), tuple(sorted(cron.seconds)))
    minute, hour = fields[-5:-3]
    return CronExpression(WallPattern(days, times), minute.startswith("*") or hour.startswith("*"))


def _expand_alias(expression: str) -> str:
    if not expression.startswith("@"):
        return expression
    if expression == "@reboot":
        raise InvalidScheduleError(
            "The cron expression '@reboot' names no instant, and a job here belongs to no machine: use "
            "a ONCE job with schedule_value=None, or call the function when your program starts."
        )
    if expression not in ALIASES:
        raise _of_another_kind(expression) or InvalidScheduleError(
            f"There is no cron alias {shown(expression)}{did_you_mean(expression, ALIASES)}: give one of "
            f"{', '.join(ALIASES)}, or five fields."
        )
    return ALIASES[expression]


def read_fields(expression: str) -> list[str]:
    """The fields of a canonical expression, as cronsim reads them to mean what they mean to Debian's cron.

    Raises InvalidScheduleError for an alias that there is not.
    """
    return [_drop_idle_steps(field) for field in _expand_alias(expression).split()]


def _drop_idle_steps(field: str) -> str:
    """`3-3/5` as `3-3`: a range of one has nothing to step through. cronsim takes it for `3/5`, from 3 to the end."""
    return _STEPPED_RANGE.sub(lambda term: f"{term[1]}-{term[2]}" if _is_same(term[1], term[2]) else term[0], field)


def _is_same(one: str, other: str) -> bool:
    numbers = [NUMBERS.get(text.upper(), text) for text in (one, other)]
    return all(str(number).isdigit() for number in numbers) and int(numbers[0]) == int(numbers[1])


def _of_another_kind(expression: str) -> InvalidScheduleError | None:
    """The refusal of a text that is no expression of five fields or six, where it is known what it is."""
    hint = whole_hint(expression)
    return (
        None
        if hint is None
        else InvalidScheduleError(f"The cron expression {shown(expression)} can't be read: {hint}.")
    )


def _read_fields(expression: str, fields: list[str]) -> CronSim:
    try:
        return CronSim(" ".join(fields), EPOCH)
    # Beside its own error cronsim lets slip what its conversions raise on input such as 5,000 digits.
    except (CronSimError, ValueError, TypeError, AssertionError, RecursionError) as error:
        if str(error) == "Bad day-of-month" and _reads_without_month(fields):
            raise _impossible_date(expression) from None
        if (of_another_kind := _of_another_kind(expression)) is not None:
            raise of_another_kind from None
        hint = field_hint(fields)
        reason = str(error) if isinstance(error, CronSimError) else "a field can't be read"
        raise InvalidScheduleError(
            f"The cron expression {shown(expression)} can't be read ({reason}): give minute 0-59, hour 0-23, "
            f"day 1-31 or L, month 1-12 or JAN-DEC, weekday 0-7 or SUN-SAT{'' if hint is None else f'; {hint}'}."
        ) from None


@lru_cache(maxsize=4096)
def _read_days(day: str, month: str, weekday: str) -> Days | None:
    """The days of fields that can be read; None when there are none.

    Kept apart from the times: among 100,000 jobs few dates differ, and what is known of a month is shared.
    """
    if (day, month, weekday) == ("*", "*", "*"):
        return EveryDay()
    cron = CronSim(f"0 0 {day} {month} {weekday}", EPOCH)
    days = MonthDays(tuple(sorted(cron.months)), cron.match_day)
    return None if days.is_empty() else days


def _reads_without_month(fields: list[str]) -> bool:
    """Whether the fields can be read once the month doesn't matter: then the date is what is impossible."""
    try:
        CronSim(" ".join([*fields[:-2], "*", fields[-1]]), EPOCH)
    except (CronSimError, ValueError, TypeError, AssertionError, RecursionError):
        return False
    return True


def _impossible_date(expression: str) -> InvalidScheduleError:
    return InvalidScheduleError(
        f"The cron expression {shown(expression)} names a date that no year has, so it would never fire: "
        "change its day or its month."
    )

"""A cron expression read a second time, by the rules that docs/schedules.md states."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
WEEKDAYS = {"SUN": 0, "MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "SAT": 6}
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
LAST = "L"
LAST_WORKDAY = "LW"


@dataclass(frozen=True)
class Expression:
    """Which wall times an expression names; `rhythm`: minute or hour begins with a star."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int | str]
    months: frozenset[int]
    weekdays: frozenset[int | tuple[int, int | str]]
    both_days: bool
    rhythm: bool

    def names(self, wall: datetime) -> bool:
        return (
            wall.minute in self.minutes
            and wall.hour in self.hours
            and wall.second in self.seconds
            and self.names_day(wall.date())
        )

    def names_day(self, day: date) -> bool:
        return _names_day(self, day)

    def names_any_day(self) -> bool:
        """Whether any day of 28 years matches: they hold every month at every weekday, leap years too."""
        first = date(2000, 1, 1)
        return any(self.names_day(first + timedelta(days=n)) for n in range(28 * 366))


def read(text: str) -> Expression:
    """The expression of a valid text; what is wrong with an invalid one is not this reader's business."""
    fields = NICKNAMES.get(text.strip().lower(), text).upper().split()
    if len(fields) == 5:
        fields = ["0", *fields]
    second, minute, hour, day, month, weekday = fields
    return Expression(
        seconds=frozenset(_numbers(second, 0, 59, {})),
        minutes=frozenset(_numbers(minute, 0, 59, {})),
        hours=frozenset(_numbers(hour, 0, 23, {})),
        days=frozenset(item for term in day.split(",") for item in _day_term(term)),
        months=frozenset(_numbers(month, 1, 12, MONTHS)),
        weekdays=frozenset(item for term in weekday.split(",") for item in _weekday_term(term)),
        both_days=day.startswith("*") or weekday.startswith("*"),
        rhythm=minute.startswith("*") or hour.startswith("*"),
    )


def _numbers(field: str, least: int, most: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        low, dash, high = span.partition("-")
        if low == "*":
            first, last = least, most
        else:
            first = _number(low, names)
            # "5/10" is from 5 to the end in tens; "5" alone is only itself.
            last = _number(high, names) if dash else most if step else first
        found.update(number for number in range(first, last + 1) if (number - first) % int(step or 1) == 0)
    return found


def _number(text: str, names: dict[str, int]) -> int:
    return names[text] if text in names else int(text)


def _day_term(term: str) -> set[int | str]:
    return {term} if term in (LAST, LAST_WORKDAY) else set(_numbers(term, 1, 31, {}))


def _weekday_term(term: str) -> set[int | tuple[int, int | str]]:
    if "#" in term:
        name, _, which = term.partition("#")
        return {(_number(name, WEEKDAYS) % 7, int(which))}
    if term.endswith(LAST):
        return {(int(term[:-1]) % 7, LAST)}
    return {number % 7 for number in _numbers(term, 0, 7, WEEKDAYS)}


@lru_cache(maxsize=100_000)
def _names_day(expression: Expression, day: date) -> bool:
    if day.month not in expression.months:
        return False
    next_month = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    last_day = next_month - timedelta(days=1)
    last_workday = last_day
    while last_workday.isoweekday() > 5:
        last_workday -= timedelta(days=1)
    by_day = (
        day.day in expression.days
        or (day == last_day and LAST in expression.days)
        or (day == last_workday and LAST_WORKDAY in expression.days)
    )
    weekday = day.isoweekday() % 7
    by_weekday = (
        weekday in expression.weekdays
        or (weekday, (day.day + 6) // 7) in expression.weekdays
        or ((weekday, LAST) in expression.weekdays and (day + timedelta(days=7)).month != day.month)
    )
    return by_day and by_weekday if expression.both_days else by_day or by_weekday

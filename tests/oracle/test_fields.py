"""Every range of every field, with and without a step, by numbers and by names: read a second time, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import combinations_with_replacement

import pytest

from scheduler_core import ScheduleJob, next_fires
from scheduler_core.domain.schedule.cron import parse_cron
from scheduler_core.domain.schedule.pattern import EveryDay, TimeGrid

from .expression import MONTHS, WEEKDAYS, read

FIELDS: dict[str, tuple[int, int, Sequence[str]]] = {
    "second": (0, 59, ()),
    "minute": (0, 59, ()),
    "hour": (0, 23, ()),
    "day": (1, 31, ()),
    "month": (1, 12, tuple(MONTHS)),
    "weekday": (0, 7, (*WEEKDAYS, "7")),
}
STEPS = (1, 2, 5)
DAYS = [date(2027, 12, 20) + timedelta(days=n) for n in range(380)]
"""A leap year, and a little of those beside it."""


def terms(field: str) -> Iterator[str]:
    least, most, names = FIELDS[field]
    for low, high in combinations_with_replacement(range(least, most + 1), 2):
        written = {(str(low), str(high)), (f"{low:02}", str(high))}
        if names:
            written |= {(names[low - least], names[high - least]), (names[low - least].lower(), str(high))}
            written -= {("7", other) for other in WEEKDAYS}
        for first, last in sorted(written):
            yield f"{first}-{last}"
            yield from (f"{first}-{last}/{step}" for step in (*STEPS, most))


@pytest.mark.parametrize("field", FIELDS)
def test_every_range_of_a_field(field: str) -> None:
    """`3-3/5` is 3: cronsim alone takes it for `3/5`, from 3 to the end."""
    place = list(FIELDS).index(field)
    compared = 0
    for term in terms(field):
        fields = ["0", "0", "0", "*", "*", "*"]
        fields[place] = term
        expression = " ".join(fields)
        pattern, expected = parse_cron(expression).pattern, read(expression)
        assert isinstance(pattern.times, TimeGrid)
        times = tuple(map(frozenset, (pattern.times.hours, pattern.times.minutes, pattern.times.seconds)))
        assert times == (expected.hours, expected.minutes, expected.seconds), expression
        if place >= 3:
            ours = [day for day in DAYS if _names(pattern.days, day)]
            assert ours == [day for day in DAYS if expected.names_day(day)], expression
        compared += 1
    print(f"{field}: {compared:,} ranges")


def _names(days: object, day: date) -> bool:
    return isinstance(days, EveryDay) or bool(days.matches(day) and day.month in days.months)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("expression", "fires"),
    [
        ("59 3-3/5 * * *", ["2026-01-01T03:59", "2026-01-02T03:59"]),
        ("0 9 5-5/2 * *", ["2026-01-05T09:00", "2026-02-05T09:00"]),
        ("1-1/2 * * * *", ["2026-01-01T00:01", "2026-01-01T01:01"]),
        ("0 0 1 JAN-1/3 *", ["2027-01-01T00:00", "2028-01-01T00:00"]),
        ("0 0 * * 7-7/2", ["2026-01-04T00:00", "2026-01-11T00:00"]),
        ("0 0 * * FRI-FRI/2,SUN-0/3", ["2026-01-02T00:00", "2026-01-04T00:00"]),
        ("59-59/2 0 0 1 * *", ["2026-01-01T00:00", "2026-02-01T00:00"]),
    ],
)
def test_a_range_of_one_has_nothing_to_step_through(expression: str, fires: list[str]) -> None:
    job = ScheduleJob("j", "J", "cron", expression, "app:f", timezone="UTC")
    found = next_fires(job, datetime(2026, 1, 1, tzinfo=UTC), 2)
    assert [f"{instant:%Y-%m-%dT%H:%M}" for instant in found] == fires

"""A schedule in plain words: what is said is what fires."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_core import InvalidScheduleError
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.domain.schedule.cron import parse_cron
from scheduler_core.domain.schedule.plain_words import plain_words

CRON = [
    ("* * * * *", "every minute"),
    ("*/5 * * * *", "every 5 minutes"),
    ("0 * * * *", "at minute 0 past every hour"),
    ("15,45 * * * *", "at minutes 15 and 45 past every hour"),
    ("*/7 * * * *", "at every 7th minute from 0 on past every hour"),
    ("1-59/2 * * * *", "at every 2nd minute from 1 on past every hour"),
    ("0-29 * * * *", "at minutes 0 to 29 past every hour"),
    ("*/90 * * * *", "at minute 0 past every hour"),
    ("59 3-3/5 * * *", "at 03:59 every day"),
    ("0 9-17 * * 1-5", "at minute 0 past hours 9 to 17, Monday to Friday"),
    ("*/5 9-17 * * 1-5", "every 5 minutes during hours 9 to 17, Monday to Friday"),
    ("0 */2 * * *", "at minute 0 past every 2nd hour"),
    ("0 */5 * * *", "at minute 0 past every 5th hour from 0 on"),
    ("0 1-23/2 * * *", "at minute 0 past every 2nd hour from 1 on"),
    ("0 0-23/6 * * *", "at 00:00, 06:00, 12:00 and 18:00 every day"),
    ("30 14 * * *", "at 14:30 every day"),
    ("* 8 * * *", "every minute during hour 8"),
    ("0 12 * * MON-FRI", "at 12:00, Monday to Friday"),
    ("0 0 * * 7", "at 00:00, on Sunday"),
    ("0 0 * * 0,6", "at 00:00, on Saturday and Sunday"),
    ("0 0 * * 1-7", "at 00:00 every day"),
    ("0 0 * * 2-4,6", "at 00:00, on Tuesday, Wednesday, Thursday and Saturday"),
    ("0 0 * * 5#2", "at 00:00, on the 2nd Friday of the month"),
    ("0 0 * * 5L", "at 00:00, on the last Friday of the month"),
    ("0 0 1 * *", "at 00:00, on day 1 of the month"),
    ("0 0 1-7 * *", "at 00:00, on days 1 to 7 of the month"),
    ("0 0 L * *", "at 00:00, on the last day of the month"),
    ("0 0 1,L * *", "at 00:00, on day 1 and the last day of the month"),
    ("0 0 LW * *", "at 00:00, on the last day from Monday to Friday of the month"),
    ("0 0 13 * 5", "at 00:00, on day 13 of the month or on Friday"),
    ("0 0 1-31 * 1", "at 00:00 every day"),
    ("0 0 2 * 0-6", "at 00:00 every day"),
    ("0 0 */1 * 1", "at 00:00, on Monday"),
    ("0 0 29 2 *", "at 00:00, on day 29 of the month, in February"),
    ("0 0 * 6-8 *", "at 00:00, June to August"),
    ("@hourly", "at minute 0 past every hour"),
    ("@yearly", "at 00:00, on day 1 of the month, in January"),
    ("* * * * * *", "every second"),
    ("*/10 * * * * *", "every 10 seconds"),
    ("5 * * * * *", "at second 5 past every minute"),
    ("15 30 14 * * *", "at 14:30:15 every day"),
    ("0,30 * 9 * * *", "every 30 seconds during hour 9"),
    # Where no short phrase is true, the fields as they are.
    ("0 0 */2 * 1", "whenever the clock matches minute 0; hour 0; day */2 and weekday 1"),
    ("0 0 1-31/2 * 1", "whenever the clock matches minute 0; hour 0; either day 1-31/2 or weekday 1"),
    ("3,7,11,13,17,19,23,29,31 * * * *", "whenever the clock matches minute 3,7,11,13,17,19,23,29,31"),
]


@pytest.mark.parametrize(("expression", "words"), CRON)
def test_cron(expression: str, words: str) -> None:
    assert plain_words(ScheduleType.CRON, expression) == words


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (ScheduleType.INTERVAL, 90, "every 90 seconds"),
        (ScheduleType.INTERVAL, 1, "every second"),
        (ScheduleType.INTERVAL, 60, "every minute"),
        (ScheduleType.INTERVAL, 5400, "every 90 minutes"),
        (ScheduleType.INTERVAL, timedelta(days=1), "every 24 hours"),
        (ScheduleType.INTERVAL, 0.25, "every 0.25 seconds"),
        (ScheduleType.INTERVAL, 12345.678, "every 12345.678 seconds"),
        (ScheduleType.DAILY, "14:30", "at 14:30 every day"),
        (ScheduleType.DAILY, ["18:00", "09:00:15"], "at 09:00:15 and 18:00 every day"),
        (
            ScheduleType.DAILY,
            [f"{hour}:00" for hour in range(10)],
            "at 10 times every day, the first 00:00 and the last 09:00",
        ),
        (ScheduleType.ONCE, None, "once, at the moment at which it is first stored"),
        (ScheduleType.ONCE, "2027-01-01T00:00:00", "once, at 2027-01-01T00:00:00+00:00"),
    ],
)
def test_the_others(kind: ScheduleType, value: Any, words: str) -> None:
    assert plain_words(kind, value) == words


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(
        st.just("*"),
        number.map(str),
        ranges,
        st.tuples(st.one_of(st.just("*"), ranges), st.integers(1, high)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
        st.lists(number, min_size=2, max_size=4).map(lambda numbers: ",".join(map(str, numbers))),
    )


@given(st.tuples(field(0, 59), field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)))
def test_expressions_that_are_told_alike_fire_alike(fields: tuple[str, ...]) -> None:
    """The phrase names the sets that fire: two expressions share one only if their sets are the same."""
    expression = " ".join(fields)
    try:
        pattern = parse_cron(expression).pattern
    except InvalidScheduleError:
        return
    words = plain_words(ScheduleType.CRON, expression)
    start = 20_000 * 86_400
    instants = []
    wall = pattern.next(start)
    while wall is not None and len(instants) < 50:
        instants.append(wall)
        wall = pattern.next(wall + 1)
    assert told.setdefault(words, instants) == instants, (expression, words)


told: dict[str, list[int]] = {}

"""What is said of cron text that others know: the term that a hint names is accepted, and names what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from scheduler_core import InvalidScheduleError, ScheduleJob
from scheduler_core.domain.schedule.cron import parse_cron
from scheduler_core.domain.schedule.duration_words import duration_seconds

from .expression import MONTHS, WEEKDAYS, read

FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}
PLACES = list(FIELDS)
YEAR = [date(2028, 1, 1) + timedelta(days=n) for n in range(366)]


def refusal(expression: str) -> str:
    with pytest.raises(InvalidScheduleError) as caught:
        ScheduleJob("j", "J", "cron", expression, "app:f", timezone="UTC")
    return str(caught.value)


def with_term(place: str, term: str) -> str:
    fields = ["0", "0", "*", "*", "*"]
    fields[PLACES.index(place)] = term
    return " ".join(fields)


def named(message: str) -> str:
    """The one term that a hint names."""
    found = re.findall(r"'([^' ]+)'", message.partition("SUN-SAT")[2])
    assert len(found) == 1, message
    return str(found[0])


def wrapped(place: str) -> Iterator[tuple[str, set[int]]]:
    """Every range of a field that goes over its end, with what it means to those who know such."""
    least, most = FIELDS[place]
    names = {"month": list(MONTHS), "weekday": list(WEEKDAYS)}.get(place)
    for low in range(least + 1, most + 1):
        for high in range(least, low):
            for step in (1, 2, 5):
                values = [*range(low, most + 1), *range(least, high + 1)][::step]
                written = f"{low}-{high}" if names is None else f"{names[low - least]}-{names[high - least]}"
                yield (written if step == 1 else f"{written}/{step}"), set(values)


@pytest.mark.parametrize("place", FIELDS)
def test_a_range_over_the_end_is_written_out(place: str) -> None:
    for term, values in wrapped(place):
        instead = with_term(place, named(refusal(with_term(place, term))))
        parse_cron(instead)
        expected = read(instead)
        sets: dict[str, set[int]] = {
            "minute": set(expected.minutes),
            "hour": set(expected.hours),
            "day": {item for item in expected.days if isinstance(item, int)},
            "month": set(expected.months),
            "weekday": {item for item in expected.weekdays if isinstance(item, int)},
        }
        assert sets[place] == values, (term, instead)


@pytest.mark.parametrize("name", WEEKDAYS)
def test_weekdays_of_quartz(name: str) -> None:
    number = WEEKDAYS[name]
    last = {day for day in YEAR if day.isoweekday() % 7 == number and (day + timedelta(days=7)).month != day.month}
    for term in (f"{name}L", f"{name}#L"):
        assert days_of(with_term("weekday", named(refusal(with_term("weekday", term))))) == last
    for which in range(1, 6):
        instead = named(refusal(with_term("weekday", f"{name}-SAT#{which}")))
        firsts = {day for day in YEAR if day.isoweekday() % 7 >= number and (day.day + 6) // 7 == which}
        assert days_of(with_term("weekday", instead)) == firsts
    if name != "SUN":
        assert days_of(with_term("weekday", named(refusal(with_term("weekday", f"7-{name}"))))) == {
            day for day in YEAR if day.isoweekday() % 7 <= number
        }


def days_of(expression: str) -> set[date]:
    parse_cron(expression)
    return {day for day in YEAR if read(expression).names_day(day)}


@pytest.mark.parametrize("before", range(1, 28))
def test_days_before_the_last_are_among_those_named(before: int) -> None:
    meant = {day for day in YEAR if (day + timedelta(days=before + 1)).day == 1}
    message = refusal(with_term("day", f"L-{before}"))
    assert meant <= days_of(with_term("day", named(message)))
    assert "let the callback return on the others" in message


@pytest.mark.parametrize("day", range(1, 32))
def test_the_nearest_weekday_is_among_those_named(day: int) -> None:
    meant = {near for at in YEAR if at.day == day and (near := nearest_weekday(at)) is not None}
    message = refusal(with_term("day", f"{day}W"))
    assert meant <= days_of(with_term("day", named(message)))
    assert "let the callback return on the others" in message


def nearest_weekday(day: date) -> date | None:
    """The weekday of its month that is nearest."""
    near = [day + timedelta(days=n) for n in (0, -1, 1, -2, 2)]
    return next((each for each in near if each.month == day.month and each.isoweekday() <= 5), None)


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("H * * * *", "minute takes a number of yours from 0 to 59; the job's jitter"),
        ("H(0-7) * * * *", "minute takes a number of yours from 0 to 7;"),
        ("0 H(0-7) * * *", "hour takes a number of yours from 0 to 7;"),
        ("H/15 * * * *", "for H/15 write '0-59/15'"),
        ("0~30 * * * *", "minute takes a number of yours from 0 to 30;"),
        ("0 0 ? * MON", "the '?' in day is Quartz's, which counts weekdays from SUN=1: write *, and weekdays by name"),
        ("0 0 WL * *", "there is 'LW'"),
        ("0 0 29-L * *", "'29-31'"),
        ("0 0 * * L", "'6'"),
        ("0 0 * * FRI#6", "'#1' to '#5'"),
        ("0 0 * * Monday-Friday", "'MON-FRI'"),
        ("0 0 1 sept *", "'SEP'"),
        ("*/0 * * * *", "a step is 1 or more"),
        ("0 24 * * *", "midnight is hour '0'"),
        ("1,,2 * * * *", "a comma too many"),
        ("CRON_TZ=Europe/Berlin 0 9 * * *", "give timezone='Europe/Berlin' and the expression '0 9 * * *'"),
        ("TZ=Asia/Tokyo @daily", "give timezone='Asia/Tokyo' and the expression '@daily'"),
        ("CRON_TZ=UTC+3 0 9 * * *", "for 3 h behind UTC give 'Etc/GMT+3'"),
        ("CRON_TZ=asia/tokyo 0 9 * * *", "did you mean 'Asia/Tokyo'"),
        ("0 0 12 * * ? 2027", "bound the job by start_at and end_at"),
        ("0 12 1 1 * 2027", "of six fields the first is seconds"),
        ("30 4 * * 1 /usr/bin/backup --all", "give the five fields '30 4 * * 1' alone"),
        ("cron(0 10 * * ? *)", "that is how AWS writes it"),
        ("rate(5 minutes)", "an INTERVAL of 300 seconds"),
        ("@every 1h30m", "an INTERVAL of 5400 seconds"),
        ("PT5M", "an INTERVAL of 300 seconds"),
        ("every 5 minutes", "an INTERVAL of 300 seconds"),
        ("@every sometimes", "an INTERVAL: give its seconds"),
        ("14:30", "a DAILY schedule"),
    ],
)
def test_what_to_write_instead(expression: str, hint: str) -> None:
    message = refusal(expression)
    assert hint in message
    assert message.count("a range goes upwards") == 0


@pytest.mark.parametrize(
    "expression", ["61 * * * *", "* * * *", "hello", "0 0 * * 8", "x y z a b", "0 0 * * MON#1-FRI#1"]
)
def test_of_what_nobody_knows_nothing_is_guessed(expression: str) -> None:
    message = refusal(expression)
    assert message.endswith(("SUN-SAT.", "with seconds first."))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("100ms", 0.1), ("2 days", 172_800), ("every 5 minutes", 300),
        ("PT5M", 300), ("P1DT12H", 129_600), ("PT0.5S", 0.5), ("rate(1 hour)", 3600), ("every hour", 3600),
        ("", None), ("P", None), ("PT", None), ("5", None), ("m5", None), ("5m x", None), ("hours", 3600), ("5x", None),
        ("1h" * 40, None),
    ],
)  # fmt: skip
def test_durations_as_others_write_them(text: str, seconds: float | None) -> None:
    assert duration_seconds(text) == seconds


def test_an_interval_in_another_form_is_told_in_seconds() -> None:
    with pytest.raises(InvalidScheduleError, match="numeric string, here 300, or a timedelta"):
        ScheduleJob("j", "J", "interval", "5m", "app:f")

"""Schedules: which instants they name, in zones with odd rules, against an oracle that shares no code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.schedule import (
    Dst,
    Schedule,
    ScheduleType,
    check_timezone,
    normalize_value,
    parse_schedule,
)
from scheduler_core.domain.schedule.cron import ALIASES, parse_cron
from scheduler_core.domain.schedule.zone import find_zone

ANCHOR = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
YEAR = timedelta(days=365)


def schedule(kind: str, value: object, timezone: str = "UTC", **rest: object) -> Schedule:
    return parse_schedule(ScheduleType(kind), value, timezone=timezone, **{"anchor": ANCHOR, **rest})  # type: ignore[arg-type]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def walk(plan: Schedule, after: datetime, until: datetime) -> list[datetime]:
    found = []
    instant = plan.next_after(after)
    while instant is not None and instant <= until:
        found.append(instant)
        instant = plan.next_after(instant)
    return found


# --- INTERVAL


@pytest.mark.parametrize("value", [30, 30.0, "30", " 30.0 ", timedelta(seconds=30)])
def test_interval_counts_from_anchor_without_drift(value: object) -> None:
    plan = schedule("interval", value)
    assert plan.next_after(ANCHOR) == ANCHOR + timedelta(seconds=30)
    assert plan.last_until(ANCHOR) is None
    assert plan.count(ANCHOR - YEAR, ANCHOR) == 0
    assert plan.next_after(ANCHOR + timedelta(days=3650, seconds=1)) == ANCHOR + timedelta(days=3650, seconds=30)
    assert normalize_value(ScheduleType.INTERVAL, value, "UTC") == 30


def test_interval_has_an_occurrence_at_start_at() -> None:
    start = ANCHOR + timedelta(hours=1)
    plan = schedule("interval", 60, start_at=start)
    assert plan.first(ANCHOR) == start
    assert plan.next_after(start - TICK) == start
    assert plan.next_after(start) == start + timedelta(seconds=60)
    assert plan.last_until(start) == start
    assert plan.count(ANCHOR, start + timedelta(seconds=60)) == 2


def test_bounds_are_inclusive() -> None:
    start, end = ANCHOR, ANCHOR + timedelta(seconds=120)
    plan = schedule("interval", 60, start_at=start, end_at=end)
    assert walk(plan, start - YEAR, end + YEAR) == [start + timedelta(seconds=60 * k) for k in range(3)]
    assert plan.next_after(end) is None
    assert plan.last_until(end + YEAR) == end
    assert plan.count(start - YEAR, end + YEAR) == 3


def test_fractions_of_a_second_do_not_accumulate() -> None:
    plan = schedule("interval", 0.1)
    assert plan.count(ANCHOR, ANCHOR + timedelta(days=1)) == 864_000
    assert plan.last_until(ANCHOR + timedelta(days=1)) == ANCHOR + timedelta(days=1)


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        0.0001,
        True,
        None,
        "",
        "abc",
        "1_0",
        "nan",
        "inf",
        float("nan"),
        float("inf"),
        10**400,
        1e300,
        -1e300,
        b"30",
        [30],
        {},
        timedelta(days=4000),
        timedelta(0),
        "9" * 5000,
        "٣",
    ],
)
def test_interval_refuses(value: object) -> None:
    with pytest.raises(InvalidScheduleError, match="interval can't be"):
        schedule("interval", value)


@given(st.integers(1000, 10**12), st.integers(-(10**13), 10**13), st.integers(-(10**13), 10**13))
@settings(max_examples=60, deadline=None)
def test_interval_questions_agree(step: int, after_us: int, until_us: int) -> None:
    plan = schedule("interval", timedelta(microseconds=step))
    after, until = ANCHOR + timedelta(microseconds=after_us), ANCHOR + timedelta(microseconds=until_us)
    following, last = plan.next_after(after), plan.last_until(until)
    assert following is not None
    assert following > after
    assert plan.count(after, following) == 1
    assert plan.count(after, following - TICK) == 0
    if last is not None:
        assert plan.next_after(last - TICK) == last
        assert plan.next_after(last) > until  # type: ignore[operator]
    value = normalize_value(ScheduleType.INTERVAL, timedelta(microseconds=step), "UTC")
    assert schedule("interval", value) == plan


# --- DAILY


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        ("14:30", ["14:30:00"]),
        ("9:05", ["09:05:00"]),
        ("23:59:59", ["23:59:59"]),
        (["18:00", "9:30", "09:30:00"], ["09:30:00", "18:00:00"]),
        (clock_time(7, 15), ["07:15:00"]),
    ],
)
def test_daily_values(value: object, canonical: list[str]) -> None:
    assert normalize_value(ScheduleType.DAILY, value, "UTC") == canonical
    assert schedule("daily", canonical) == schedule("daily", value)


def test_daily_is_in_the_zone() -> None:
    plan = schedule("daily", ["9:30", "18:00"], "Asia/Seoul")
    found = walk(plan, utc("2026-11-23T00:00"), utc("2026-11-24T01:00"))
    assert found == [utc("2026-11-23T00:30"), utc("2026-11-23T09:00"), utc("2026-11-24T00:30")]


@pytest.mark.parametrize(
    "value",
    [
        "25:61",
        "24:00",
        "9",
        "12:60",
        "12:00:60",
        "1:2",
        "",
        "-1:00",
        "12:00 PM",
        "٠٩:٣٠",
        None,
        9,
        [],
        [None],
        {},
        ["9:30", "x"],
        ["00:00"] * 2000,
        b"09:30",
        "1" * 10000,
        clock_time(1, 2, 3, 4),
    ],
)
def test_daily_refuses(value: object) -> None:
    with pytest.raises(InvalidScheduleError, match="daily"):
        schedule("daily", value)


# --- ONCE


def test_once_fires_once_also_when_past() -> None:
    past = ANCHOR - YEAR
    plan = schedule("once", past)
    assert plan.first(ANCHOR) == past
    assert plan.next_after(ANCHOR) is None
    assert plan.last_until(ANCHOR) == past
    assert (plan.count(past - TICK, past), plan.count(past, ANCHOR)) == (1, 0)


def test_once_without_value_is_the_anchor() -> None:
    assert schedule("once", None).first(ANCHOR + YEAR) == ANCHOR
    assert normalize_value(ScheduleType.ONCE, None, "UTC") is None


@pytest.mark.parametrize(
    ("value", "zone", "expected"),
    [
        ("2026-07-01T14:30:00", "Europe/Berlin", "2026-07-01T12:30"),
        ("2026-07-01 14:30:00.25+09:00", "Europe/Berlin", "2026-07-01T05:30:00.25"),
        (datetime(2024, 1, 1, 12, 0), "Asia/Seoul", "2024-01-01T03:00"),  # noqa: DTZ001 - naive is the point
        ("2026-03-29T02:30:00.5", "Europe/Berlin", "2026-03-29T01:00"),  # skipped: the end of the gap
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30"),  # repeated: the first
        (datetime(2026, 10, 25, 2, 30, fold=1), "Europe/Berlin", "2026-10-25T01:30"),  # noqa: DTZ001
        ("2011-12-30T14:30", "Pacific/Apia", "2011-12-30T10:00"),
    ],
)
def test_once_values(value: object, zone: str, expected: str) -> None:
    canonical = normalize_value(ScheduleType.ONCE, value, zone)
    assert canonical == utc(expected).isoformat()
    assert schedule("once", canonical, "UTC").first(ANCHOR) == utc(expected)


@pytest.mark.parametrize("value", ["", "tomorrow", 1, date(2026, 1, 1), "0001-01-01", "9999-12-31T23:59:59-12:00", []])
def test_once_refuses(value: object) -> None:
    with pytest.raises(InvalidScheduleError):
        schedule("once", value)


# --- CRON


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/15 * * * *", ["2026-03-01T12:15", "2026-03-01T12:30"]),
        ("0 9-17/4 * * MON-FRI", ["2026-03-02T09:00", "2026-03-02T13:00"]),
        ("30 */10 * * * *", ["2026-03-01T12:00:30", "2026-03-01T12:10:30"]),
        ("0 0 L * *", ["2026-03-31T00:00", "2026-04-30T00:00"]),
        ("0 0 LW * *", ["2026-03-31T00:00", "2026-04-30T00:00"]),
        ("0 12 * * FRI#2", ["2026-03-13T12:00", "2026-04-10T12:00"]),
        ("0 12 * * 5L", ["2026-03-27T12:00", "2026-04-24T12:00"]),
        ("0 0 13 * 5", ["2026-03-06T00:00", "2026-03-13T00:00"]),  # either, as neither begins with a star
        ("0 0 */13 * 5", ["2026-03-27T00:00", "2026-05-01T00:00"]),  # both, as one does
        ("0 0 29 2 *", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 0 1 jan,JUL *", ["2026-07-01T00:00", "2027-01-01T00:00"]),
        ("0 0 * * 7", ["2026-03-08T00:00", "2026-03-15T00:00"]),
        ("@hourly", ["2026-03-01T13:00", "2026-03-01T14:00"]),
        ("@Daily", ["2026-03-02T00:00", "2026-03-03T00:00"]),
        ("@midnight", ["2026-03-02T00:00", "2026-03-03T00:00"]),
        ("@weekly", ["2026-03-08T00:00", "2026-03-15T00:00"]),
        ("@monthly", ["2026-04-01T00:00", "2026-05-01T00:00"]),
        ("@yearly", ["2027-01-01T00:00", "2028-01-01T00:00"]),
        ("@annually", ["2027-01-01T00:00", "2028-01-01T00:00"]),
    ],
)
def test_cron_expressions(expression: str, expected: list[str]) -> None:
    plan = schedule("cron", expression)
    first = plan.next_after(ANCHOR)
    assert first is not None
    second = plan.next_after(first)
    assert [first, second] == [utc(text) for text in expected]
    assert second is not None
    assert plan.last_until(second - TICK) == first


def test_cron_canonical_value() -> None:
    assert normalize_value(ScheduleType.CRON, "  0  9 * *\tMON ", "UTC") == "0 9 * * MON"
    assert normalize_value(ScheduleType.CRON, "@DAILY", "UTC") == "@daily"
    for alias, expression in ALIASES.items():
        assert schedule("cron", alias).next_after(ANCHOR) == schedule("cron", expression).next_after(ANCHOR)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 0 31 2 *", "no year has"),
        ("0 0 30 2 *", "no year has"),
        ("0 0 31 4,6,9,11 *", "no year has"),
        ("@reboot", "names no instant"),
        ("@dayly", "did you mean '@daily'"),
        ("61 * * * *", "Bad minute"),
        ("* * * *", "4 fields"),
        ("* * * * * * *", "no field for years"),
        ("* * * * * * * *", "8 fields"),
        ("", "0 fields"),
        ("* * * * MOON", "Bad day-of-week"),
        ("*/0 * * * *", "Bad minute"),
        ("5-1 * * * *", "Bad minute"),
        ("١ * * * *", "outside ASCII"),
        ("* * * * " + "9" * 900, "Bad day-of-week"),
        ("9" * 5000, "5000 characters"),
        (None, "give a string"),
        (5, "give a string"),
    ],
)
def test_cron_refuses(expression: object, message: str) -> None:
    with pytest.raises(InvalidScheduleError, match=message):
        schedule("cron", expression)


def test_sparse_dates_are_found_without_walking() -> None:
    """29 February on a Monday: 28 years apart, 40 over 2100."""
    began = time.perf_counter()
    plan = schedule("cron", "0 0 */28 2 MON", "Europe/Berlin", start_at="2090-02-02")
    leap_mondays = [day for day in walk(plan, ANCHOR, utc("2150-01-01")) if day.day == 28]  # 29th 00:00 is 28th 23:00
    assert leap_mondays == [utc("2112-02-28T23:00"), utc("2140-02-28T23:00")]
    assert plan.next_after(utc("8999-06-01")) is None
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("bounds", [{}, {"start_at": "2026-01-01"}, {"end_at": "2040-01-01"}])
def test_a_time_that_is_always_skipped_is_refused(bounds: dict[str, str]) -> None:
    with pytest.raises(InvalidScheduleError, match="never fire"):
        schedule("cron", "*/30 2 * 3 7L", "Europe/Berlin", **{"start_at": "1997-01-01", **bounds})
    with pytest.raises(InvalidScheduleError, match="never fire"):
        schedule("cron", "30 2 * 3 7L", "Europe/Berlin", dst=Dst.SKIP, **{"start_at": "1997-01-01", **bounds})
    assert schedule("cron", "30 2 * 3 7L", "Europe/Berlin").next_after(ANCHOR) == utc("2026-03-29T01:00")
    # Where the rule is older than the gap, or may leave it, the schedule stands.
    assert schedule("cron", "30 2 29 3 *", "Europe/Berlin", dst=Dst.SKIP).next_after(ANCHOR) == utc("2027-03-29T00:30")
    assert schedule("cron", "30 2 * 3 7L", "Asia/Seoul", dst=Dst.SKIP).next_after(ANCHOR) == utc("2026-03-28T17:30")


@pytest.mark.parametrize(("kind", "value"), [("interval", 1), ("cron", "* * * * * *")])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Africa/Casablanca"])
def test_a_year_of_seconds_is_counted_in_milliseconds(kind: str, value: object, zone: str) -> None:
    """kubernetes #42649."""
    plan = schedule(kind, value, zone)
    plan.count(ANCHOR, ANCHOR + YEAR)
    began = time.perf_counter()
    assert plan.count(ANCHOR, ANCHOR + YEAR) == 365 * 86_400
    assert time.perf_counter() - began < 0.02


def test_methods_refuse_naive_instants() -> None:
    with pytest.raises(InvalidScheduleError, match="no time zone"):
        schedule("daily", "9:30").next_after(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(("kind", "value"), [("daily", "12:00"), ("cron", "0 12 * * *"), ("once", "2026-05-01T12:00")])
def test_bounds_without_occurrence_are_refused(kind: str, value: object) -> None:
    with pytest.raises(InvalidScheduleError, match="never fire"):
        schedule(kind, value, start_at="2026-03-01T12:00:01", end_at="2026-03-01T18:00")
    with pytest.raises(InvalidScheduleError, match="not before"):
        schedule(kind, value, start_at="2026-03-02", end_at="2026-03-01")


@pytest.mark.parametrize("name", ["Europe/Berln", "europe/berlin", "America", "../x", "", "right/UTC", "localtime"])
def test_unknown_zones(name: str) -> None:
    with pytest.raises(InvalidScheduleError, match="There is no time zone"):
        check_timezone(name)
    assert check_timezone("Asia/Seoul") == "Asia/Seoul"


# --- DST, case by case

BERLIN, LORD_HOWE, APIA = "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"

DST_CASES = [
    # zone, kind, value, dst, after, until, expected
    (
        BERLIN,
        "daily",
        "02:30",
        "once",
        "2026-03-28T12:00",
        "2026-03-30T12:00",
        ["2026-03-29T01:00", "2026-03-30T00:30"],
    ),
    (
        BERLIN,
        "daily",
        "02:30",
        "skip",
        "2026-03-28T12:00",
        "2026-03-30T12:00",
        ["2026-03-30T00:30"],
    ),
    (
        BERLIN,
        "daily",
        "02:30",
        "both",
        "2026-03-28T12:00",
        "2026-03-29T12:00",
        ["2026-03-29T01:00"],
    ),
    (
        BERLIN,
        "daily",
        "02:30",
        "once",
        "2026-10-24T12:00",
        "2026-10-25T12:00",
        ["2026-10-25T00:30"],
    ),
    (
        BERLIN,
        "daily",
        "02:30",
        "skip",
        "2026-10-24T12:00",
        "2026-10-25T12:00",
        ["2026-10-25T00:30"],
    ),
    (
        BERLIN,
        "daily",
        "02:30",
        "both",
        "2026-10-24T12:00",
        "2026-10-25T12:00",
        ["2026-10-25T00:30", "2026-10-25T01:30"],
    ),
    # Several skipped times, and one at the gap's very end, are one occurrence.
    (
        BERLIN,
        "daily",
        ["02:10", "02:50", "03:00"],
        "once",
        "2026-03-28T12:00",
        "2026-03-29T12:00",
        ["2026-03-29T01:00"],
    ),
    (
        BERLIN,
        "cron",
        "0 30 2 * * *",
        "once",
        "2026-03-28T12:00",
        "2026-03-29T12:00",
        ["2026-03-29T01:00"],
    ),
    (
        BERLIN,
        "cron",
        "30 2 * * *",
        "once",
        "2026-10-24T12:00",
        "2026-10-25T12:00",
        ["2026-10-25T00:30"],
    ),
    # A wildcard follows elapsed time, whatever `dst` says.
    (
        BERLIN,
        "cron",
        "30 * * * *",
        "once",
        "2026-03-28T23:59",
        "2026-03-29T02:00",
        ["2026-03-29T00:30", "2026-03-29T01:30"],
    ),
    (
        BERLIN,
        "cron",
        "30 * * * *",
        "once",
        "2026-10-25T00:00",
        "2026-10-25T02:00",
        ["2026-10-25T00:30", "2026-10-25T01:30"],
    ),
    (
        BERLIN,
        "cron",
        "30 * * * *",
        "skip",
        "2026-10-25T00:00",
        "2026-10-25T02:00",
        ["2026-10-25T00:30", "2026-10-25T01:30"],
    ),
    (
        BERLIN,
        "cron",
        "*/30 2 * * *",
        "once",
        "2026-03-28T12:00",
        "2026-03-29T12:00",
        [],
    ),
    # Half an hour: 02:00 → 02:30 and back.
    (
        LORD_HOWE,
        "daily",
        "02:15",
        "once",
        "2026-10-03T00:00",
        "2026-10-04T00:00",
        ["2026-10-03T15:30"],
    ),
    (
        LORD_HOWE,
        "daily",
        "01:45",
        "both",
        "2026-04-04T00:00",
        "2026-04-05T00:00",
        ["2026-04-04T14:45", "2026-04-04T15:15"],
    ),
    # A day that never was: its time fires as the next day begins.
    (
        APIA,
        "daily",
        "14:30",
        "once",
        "2011-12-29T12:00",
        "2011-12-31T12:00",
        ["2011-12-30T00:30", "2011-12-30T10:00", "2011-12-31T00:30"],
    ),
    (
        APIA,
        "daily",
        "14:30",
        "skip",
        "2011-12-29T12:00",
        "2011-12-31T12:00",
        ["2011-12-30T00:30", "2011-12-31T00:30"],
    ),
    (
        APIA,
        "cron",
        "0 0 30 12 *",
        "once",
        "2011-12-29T00:00",
        "2012-01-30T00:00",
        ["2011-12-30T10:00"],
    ),
    # Negative DST: the clock goes forward into Irish *standard* time.
    (
        "Europe/Dublin",
        "daily",
        "01:30",
        "once",
        "2026-03-28T12:00",
        "2026-03-29T12:00",
        ["2026-03-29T01:00"],
    ),
    # Two hours, at the Norwegian station in Antarctica.
    (
        "Antarctica/Troll",
        "daily",
        ["01:30", "02:30"],
        "once",
        "2026-03-29T00:00",
        "2026-03-29T12:00",
        ["2026-03-29T01:00"],
    ),
    # Midnight itself is skipped.
    (
        "Asia/Tehran",
        "cron",
        "0 0 * * *",
        "once",
        "2022-03-21T12:00",
        "2022-03-22T12:00",
        ["2022-03-21T20:30"],
    ),
    # Back for Ramadan, an hour in February.
    (
        "Africa/Casablanca",
        "daily",
        "02:30",
        "once",
        "2026-02-14T12:00",
        "2026-02-15T12:00",
        ["2026-02-15T01:30"],
    ),
]


@pytest.mark.parametrize(("zone", "kind", "value", "dst", "after", "until", "expected"), DST_CASES)
def test_dst_cases(zone: str, kind: str, value: object, dst: str, after: str, until: str, expected: list[str]) -> None:
    plan = schedule(kind, value, zone, dst=Dst(dst))
    found = walk(plan, utc(after), utc(until))
    assert found == [utc(text) for text in expected]
    assert plan.count(utc(after), utc(until)) == len(expected)
    assert [plan.last_until(instant) for instant in found] == found


# --- The oracle: every minute of five days around a transition, by zoneinfo's wall times alone

TRANSITIONS = [
    ("Australia/Lord_Howe", "2024-04-06T15:00"),
    ("Australia/Lord_Howe", "2024-10-05T15:30"),
    ("Africa/Casablanca", "2024-03-10T02:00"),
    ("Africa/Casablanca", "2024-04-14T02:00"),
    ("Antarctica/Troll", "2024-03-31T01:00"),
    ("Antarctica/Troll", "2024-10-27T01:00"),
    ("Pacific/Kiritimati", "1994-12-31T10:40"),
    ("Pacific/Apia", "2011-12-30T10:00"),
    ("Pacific/Kwajalein", "1969-09-30T13:00"),
    ("Asia/Tehran", "2022-03-21T20:30"),
    ("Asia/Tehran", "2022-09-21T19:30"),
    ("Europe/Dublin", "2024-03-31T01:00"),
    ("Europe/Dublin", "2024-10-27T01:00"),
    ("America/Santiago", "2024-09-08T04:00"),
    ("Asia/Pyongyang", "2018-05-04T15:00"),
]


@cache
def walls_around(zone: str, transition: str) -> list[tuple[datetime, datetime]]:
    """(instant, wall) of every minute from three days before to two days after."""
    info, start = ZoneInfo(zone), utc(transition) - timedelta(days=3)
    instants = (start + timedelta(minutes=minute) for minute in range(5 * 1440))
    return [(instant, instant.astimezone(info).replace(tzinfo=None, fold=0)) for instant in instants]


@dataclass(frozen=True)
class Fields:
    """Minutes, hours, days of the month, weekdays (0 is Sunday) as sets; None is `*`."""

    minutes: frozenset[int] | None
    hours: frozenset[int] | None
    days: frozenset[int] | None
    weekdays: frozenset[int] | None

    @property
    def expression(self) -> str:
        parts = (self.minutes, self.hours, self.days, None, self.weekdays)
        return " ".join("*" if part is None else ",".join(map(str, sorted(part))) for part in parts)

    @property
    def is_rhythm(self) -> bool:
        return self.minutes is None or self.hours is None

    def match(self, wall: datetime) -> bool:
        by_day = self.days is None or wall.day in self.days
        by_weekday = self.weekdays is None or wall.isoweekday() % 7 in self.weekdays
        both = by_day and by_weekday
        day_fits = both if self.days is None or self.weekdays is None else by_day or by_weekday
        return (
            (self.minutes is None or wall.minute in self.minutes)
            and (self.hours is None or wall.hour in self.hours)
            and day_fits
        )


def oracle(fields: Fields, walls: list[tuple[datetime, datetime]], dst: Dst) -> list[datetime]:
    """Every occurrence among these minutes, by looking at each of them."""
    if fields.is_rhythm:
        return [instant for instant, wall in walls if fields.match(wall)]
    fires: set[datetime] = set()
    shown: set[datetime] = set()
    for index, (instant, wall) in enumerate(walls):
        if fields.match(wall) and (dst == Dst.BOTH or wall not in shown):
            fires.add(instant)
        before = walls[index - 1][1] if index else wall - timedelta(minutes=1)
        skipped = before + timedelta(minutes=1)
        while dst != Dst.SKIP and skipped < wall:
            if skipped not in shown and fields.match(skipped):
                fires.add(instant)
            skipped += timedelta(minutes=1)
        shown.add(wall)
    return sorted(fires)


def compare_with_oracle(fields: Fields, zone: str, transition: str, dst: Dst) -> None:
    walls = walls_around(zone, transition)
    plan = schedule("cron", fields.expression, zone, dst=dst)
    # The first 26 hours, as far as offsets lie apart, only tell the oracle which walls were shown before.
    after, until = walls[26 * 60][0], walls[-1][0]
    expected = [instant for instant in oracle(fields, walls, dst) if after < instant]
    assert walk(plan, after, until) == expected
    assert plan.count(after, until) == len(expected)
    backwards, last = [], plan.last_until(until)
    while last is not None and last > after:
        backwards.append(last)
        last = plan.last_until(last - TICK)
    assert backwards[::-1] == expected
    for cut in expected[:3] + expected[-3:]:
        assert plan.count(after, cut) + plan.count(cut, until) == len(expected)


def some(least: int, most: int) -> st.SearchStrategy[frozenset[int] | None]:
    return st.none() | st.frozensets(st.integers(least, most), min_size=1, max_size=4)


FIELDS = st.builds(Fields, some(0, 59), some(0, 4) | some(0, 23), some(1, 31), some(0, 6))


@pytest.mark.parametrize(("zone", "transition"), TRANSITIONS)
@pytest.mark.parametrize("dst", list(Dst))
def test_oracle_agrees_on_every_hour(zone: str, transition: str, dst: Dst) -> None:
    compare_with_oracle(Fields(frozenset({0, 20}), frozenset(range(24)), None, None), zone, transition, dst)


@given(FIELDS, st.sampled_from(TRANSITIONS), st.sampled_from(list(Dst)))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_oracle_agrees_on_random_expressions(fields: Fields, where: tuple[str, str], dst: Dst) -> None:
    compare_with_oracle(fields, *where, dst)


@given(FIELDS, st.integers(0, 20 * 365 * 86_400), st.sampled_from(["UTC", BERLIN, LORD_HOWE]))
@settings(max_examples=100, deadline=None)
def test_questions_agree_with_each_other(fields: Fields, offset: int, zone: str) -> None:
    plan = schedule("cron", fields.expression, zone)
    after = ANCHOR + timedelta(seconds=offset)
    following = plan.next_after(after)
    assert following is not None
    assert plan.last_until(following) == following
    assert plan.count(after, following) == 1
    assert plan.count(after, following - TICK) == 0
    assert plan.next_after(following - TICK) == following
    year = plan.count(after, after + YEAR)
    middle = after + YEAR / 3
    assert plan.count(after, middle) + plan.count(middle, after + YEAR) == year


def test_zone_periods_agree_with_zoneinfo() -> None:
    """Sampling finds every transition: each hour of a year in a zone with four of them."""
    zone, info = find_zone("Africa/Casablanca"), ZoneInfo("Africa/Casablanca")
    for hour in range(366 * 24):
        instant = utc("2030-01-01") + timedelta(hours=hour)
        period = zone.period(int(instant.timestamp()))
        assert period is not None
        assert timedelta(seconds=period.offset) == instant.astimezone(info).utcoffset()


def test_expressions_are_read_once() -> None:
    assert parse_cron("*/7 * * * *") is parse_cron("*/7 * * * *")
    # Dates are shared among times: 100,000 jobs have few of them.
    assert parse_cron("1 2 * * MON").pattern.days is parse_cron("3 4 5 * * MON").pattern.days


def test_schedules_are_equal_when_they_mean_the_same() -> None:
    assert schedule("cron", "0 9 1 * MON") == schedule("cron", "0 9 1 * MON")
    assert schedule("cron", "0 9 1 * MON") != schedule("cron", "0 9 2 * MON")


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("0 9 ? * MON", "Quartz's, which counts weekdays from SUN=1"),
        ("0 9 15W * *", "one of the days 14 to 16"),
        ("0 9 * * FRI-SUN", "FRI-7"),
        ("0 22-2 * * *", "22-23,0-2"),
    ],
)
def test_other_dialects_are_told_what_to_write(expression: str, hint: str) -> None:
    with pytest.raises(InvalidScheduleError, match=hint):
        schedule("cron", expression)

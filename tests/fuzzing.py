"""Definitions as nobody would write them: wrong types and sizes, odd text, huge numbers, deep nesting. From a seed."""
# ruff: noqa: DTZ001, DTZ901 - naive datetimes are part of the point

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any
from zoneinfo import ZoneInfo


def nested(levels: int, leaf: Any = 1) -> Any:
    """A list in a list in a list."""
    value = leaf
    for _ in range(levels):
        value = [value]
    return value


def nested_dict(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": value}
    return value


class Rude:
    """Raises whatever it is asked."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        return 1


TEXTS = (
    "", " ", "a", "a" * 200, "a" * 201, "é" * 200, "日本" * 100, "👩‍👩‍👧‍👦" * 28, "x" * 300_000, "\x00", "a\x00b",
    "\ud800", "a\udcffb", "\u202eevil", "\u200b", "\ufeffa", "\n", "a\nb", "a\tb", "\x7f", "\x85", "\u2028", " a",
    "a ", "'; DROP TABLE jobs; --", "{0}", "%s %d", "[bold]x[/bold]", "\\", '"', "null", "true", "NaN", "1e999",
    "0x10", "1_000", "٣", "２", "30", " 30 ", "-0", "9" * 400, "9" * 5000, "* * * * *", "0 0 31 2 *", "@daily",
    "@reboot", "*/0 * * * *", "L L L L L", "5-1 * * * *", "* " * 400, "24:00", "23:59:59", "9:5",
    "2026-03-29T02:30", "2026-13-01", "0001-01-01", "9999-12-31T23:59:59.999999-23:59", "2026-01-01T00:00:00+25:00",
    "now", "Europe/Berlin", "europe/berlin", "right/UTC", "localtime", "../../etc/passwd", "Etc/GMT+12", "app:work",
    "app:", ":work", "os:system", "a.b.c:d.e", "app:<lambda>", "interval", "CRON", "latest", "skip", "both",
)  # fmt: skip

NUMBERS = (
    0, 1, -1, 2, 50, 1000, 1001, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**18, 10**400, 10**5000, 0.0, -0.0, 0.001,
    0.0001, 0.1, 1.5, 1e-320, 1e17, 1e300, -1e300, math.nan, math.inf, -math.inf, True, False, 1j, Decimal(3),
    Decimal("NaN"), Fraction(1, 3),
)  # fmt: skip

INSTANTS = (
    datetime.max, datetime.min, datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC),
    datetime(2026, 1, 1), datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime(8999, 12, 31, 23, 59, 59, 999_999),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=23, minutes=59))),
    datetime(1900, 1, 1, tzinfo=timezone(timedelta(hours=14))), date(2026, 1, 1), time(2, 30),
    time(2, 30, tzinfo=UTC), timedelta(0), timedelta(-1), timedelta.max, timedelta.min, timedelta(days=3),
    timedelta(microseconds=1), timedelta(milliseconds=1),
)  # fmt: skip

CONTAINERS = (
    [], {}, (), set(), frozenset({"a"}), [None], ["a", "a"], ["\x00"], [""], ["a"] * 101, [1, [2, (3,)]], {"a": 1},
    {1: 2}, {"\ud800": 1}, {"a\x00": 1}, {"a": math.nan}, {"a": [math.inf]}, {"": {"": ""}}, {"🙂": "🙂"},
    [10**400], {"a": "x" * 270_000}, ["09:30", "9:30"], ["09:30", None], ["00:00"] * 1441, nested(45), nested(60),
    nested(10_000), nested_dict(45), nested_dict(2000), range(3), b"a", bytearray(b"30"), {"a": b"b"},
    {"a": datetime(2026, 1, 1)}, {"a": {1, 2}},
)  # fmt: skip

OBJECTS: tuple[Any, ...] = (
    None,
    object(),
    Rude(),
    print,
    int,
    len,
    ...,
    ZoneInfo("Asia/Seoul"),
    ValueError("x"),
    lambda: None,
)

ANYTHING: tuple[Any, ...] = (*TEXTS, *NUMBERS, *INSTANTS, *CONTAINERS, *OBJECTS)

PLAUSIBLE: dict[str, Callable[[Random], Any]] = {
    "job_id": lambda r: r.choice(["a", "é" * 200, "a" * 200, "작업", "a b", "../x", "--x", "'", "\u05d0", "[red]"]),
    "name": lambda r: r.choice(["A", "주기적 작업", "\u202eevil", "a\u200bb", "x" * 200, " padded "]),
    "enabled": lambda r: r.random() < 0.5,
    "use_distributed_lock": lambda r: r.random() < 0.5,
    "lock_key": lambda r: r.choice([None, "k", "x" * 200]),
    "lock_ttl": lambda r: r.choice([0.001, 1, 300.5, 315_532_800]),
    "max_retries": lambda r: r.choice([0, 3, 1000]),
    "args": lambda r: r.choice([[], [1, "two", None, [3.5]], nested(45), ["\u202e", "🙂", "\\u0000", 2**53 + 1]]),
    "kwargs": lambda r: r.choice([{}, {"a": {"b": [None]}}, nested_dict(45), {"": 0, "\u05d0": "\x01", "n": -0.0}]),
    "timezone": lambda r: r.choice([None, "UTC", "Europe/Berlin", "Pacific/Apia", "Etc/GMT+12"]),
    "start_at": lambda r: r.choice([None, "2026-01-01", "2026-03-29T02:30", "2026-01-01T00:00:00.000001+05:45"]),
    "end_at": lambda r: r.choice([None, "2031-01-01", "8999-12-31T23:59:59", "2030-10-25T02:30:00Z"]),
    "jitter": lambda r: r.choice([0, 0.5, 1]),
    "calendars": lambda r: r.choice([[], ["holidays"], ["a", "é"]]),
    "misfire": lambda r: r.choice(["latest", "ALL", "skip"]),
    "misfire_grace": lambda r: r.choice([0, 10, 0.1, 3600]),
    "catch_up_limit": lambda r: r.choice([1, 1_000_000]),
    "overlap": lambda r: r.choice(["skip", "allow", "Queue"]),
    "delivery": lambda r: r.choice(["at_least_once", "at_most_once"]),
    "timeout": lambda r: r.choice([None, 0.001, 5, 1e8]),
    "retry_delay": lambda r: r.choice([0, 1, 2.5]),
    "retry_max_delay": lambda r: r.choice([60, 3600]),
    "disable_after": lambda r: r.choice([None, 1, 5]),
    "executor": lambda r: r.choice(["local", "process"]),
    "tags": lambda r: r.choice([[], ["a", "b"], ["é", "\u05d0"]]),
    "dst": lambda r: r.choice(["once", "skip", "both"]),
}  # fmt: skip

SCHEDULES: tuple[tuple[str, Any], ...] = (
    ("interval", 30), ("interval", "86400.5"), ("interval", 0.001), ("interval", 315_532_800), ("daily", "02:30"),
    ("daily", ["9:05", "23:59:59", "09:05:00"]), ("once", None), ("once", "2026-03-29T02:30:00.5"),
    ("once", "2030-01-01T00:00:00+14:00"), ("cron", " */5  * * *\tmon-FRI "), ("cron", "@Yearly"),
    ("cron", "59 0 0 29 2 *"), ("cron", "0 0 LW,1 * 5L,MON#1"),
)  # fmt: skip


def definition(random: Random) -> dict[str, Any]:
    """The fields of a job: some plausible, up to two of them anything at all."""
    kind, value = random.choice(SCHEDULES)
    fields: dict[str, Any] = {
        "job_id": "a", "name": "A", "schedule_type": kind, "schedule_value": value, "callback": "apps.idle:work",
    }  # fmt: skip
    for name in random.sample(list(PLAUSIBLE), random.randint(0, 8)):
        fields[name] = PLAUSIBLE[name](random)
    for name in random.sample(
        [*PLAUSIBLE, "schedule_type", "schedule_value", "callback"], random.choice((0, 0, 1, 1, 2))
    ):
        fields[name] = random.choice(ANYTHING)
    if random.random() < 0.05:
        fields[random.choice(["jiter", "\x00", "job-id", "x" * 5000])] = 1
    return fields

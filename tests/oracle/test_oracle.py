"""A slice of the long comparison (`python -m tests.oracle`), the same on every run; and that it would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from scheduler_core.domain.planning.planning import jitter_offset
from scheduler_core.domain.schedule import parse as parse_module
from scheduler_core.domain.schedule.wall_clock import WallClockSchedule

from .compare import HOUR, Tally, compare_around, minutes_around, seconds_around
from .definitions import draw
from .expression import read
from .occurrences import Definition, occurrences
from .plans import compare_jitter, compare_plan, compare_plan_at
from .transitions import ODD_ZONES, transitions
from .walk import MINUTE, walk

QUIET = datetime(2026, 6, 15, 12, tzinfo=UTC)
APIA = datetime(2011, 12, 30, 10, tzinfo=UTC)
BERLIN = datetime(2026, 3, 29, 1, tzinfo=UTC)


def agrees(tally: Tally, at_least: int = 1) -> None:
    assert tally.mismatches == []
    assert tally.counts["definitions"] + tally.counts["plans"] >= at_least


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_random_definitions_by_the_minute(zone: str) -> None:
    changes = transitions(zone) or (QUIET,)
    tally = Tally()
    for change in Random(zone).sample(changes, min(6, len(changes))):
        compare_around(tally, f"{zone} {change}", minutes_around(zone, change), change, 6)
    agrees(tally, 6)


@pytest.mark.parametrize(
    "zone", ["Africa/Casablanca", "America/New_York", "Antarctica/Troll", "Australia/Lord_Howe", "Europe/Dublin"]
)
def test_random_definitions_by_the_second(zone: str) -> None:
    tally = Tally()
    for change in Random(zone).sample(transitions(zone), 2):
        compare_around(tally, f"{zone} {change}", seconds_around(zone, change), change, 10)
    agrees(tally, 20)


def test_the_day_that_apia_left_out() -> None:
    assert APIA in transitions("Pacific/Apia")
    tally = Tally()
    compare_around(tally, "Apia", minutes_around("Pacific/Apia", APIA), APIA, 60)
    agrees(tally, 60)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Africa/Casablanca", "Australia/Lord_Howe"])
def test_a_long_missed_span_is_planned_as_it_is_walked(zone: str) -> None:
    random, tally = Random(zone), Tally()
    change = next(at for at in transitions(zone) if at.year == 2026)
    walked = walk(zone, change - timedelta(days=30), change + timedelta(days=30), MINUTE, lead=26 * HOUR)
    for text in ("* * * * *", "*/7 1-3 * * *", "30 2 * * *", "15,45 1 * * MON"):
        definition = Definition("cron", text, zone, walked.after, random.choice(("once", "skip", "both")))
        expected = occurrences(definition, walked)
        compare_plan_at(tally, definition, expected, expected[0], walked.until, random)
        for _ in range(10):
            compare_plan(tally, definition, expected, walked, random)
        compare_jitter(tally, expected[:50], 30.0)
    agrees(tally, 44)


def test_jitter_is_the_same_in_every_process() -> None:
    """A successor, of this version or the next, starts an occurrence at the same instant."""
    instant = datetime(2026, 3, 29, 1, tzinfo=UTC)
    script = (
        "from datetime import UTC, datetime;"
        "from scheduler_core.domain.planning.planning import jitter_offset as jitter;"
        "print(jitter('nightly', datetime(2026, 3, 29, 1, tzinfo=UTC), 60.0).total_seconds())"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert float(said.stdout) == jitter_offset("nightly", instant, 60.0).total_seconds() == pytest.approx(JITTER)
    spread = [jitter_offset("nightly", instant + n * HOUR, 60.0).total_seconds() for n in range(1000)]
    assert 28 < sum(spread) / len(spread) < 32
    assert len(set(spread)) == 1000


JITTER = 58.744031


# --- the oracle itself: by hand, and against a product with one thing wrong


@pytest.mark.parametrize(
    ("kind", "value", "dst", "expected"),
    [
        ("daily", "02:30", "once", ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]),
        ("daily", "02:30", "skip", ["2026-03-28T01:30", "2026-03-30T00:30"]),
        ("cron", "30 2 * * SUN#5", "both", ["2026-03-29T01:00"]),
        ("cron", "*/30 2 29 * *", "once", []),
        ("cron", "59 1 29 3 *", "once", ["2026-03-29T00:59"]),
        ("once", datetime(2026, 3, 29, 2, 15), "once", ["2026-03-29T01:00"]),  # noqa: DTZ001 - naive is the point
        ("interval", 86_400, "once", ["2026-03-28T23:00", "2026-03-29T23:00"]),
    ],
)
def test_the_oracle_by_hand(kind: str, value: Any, dst: str, expected: list[str]) -> None:
    walked = minutes_around("Europe/Berlin", BERLIN)
    definition = Definition(kind, value, "Europe/Berlin", walked.after, dst)
    assert [f"{instant:%Y-%m-%dT%H:%M}" for instant in occurrences(definition, walked)] == expected


def test_the_oracle_reads_expressions() -> None:
    cron = read("5/20 22-23,0 LW,1 FEB-apr/2 7#1,5L")
    assert (cron.minutes, cron.hours, cron.months) == ({5, 25, 45}, {22, 23, 0}, {2, 4})
    assert (cron.days, cron.weekdays, cron.both_days, cron.rhythm) == ({"LW", 1}, {(0, 1), (5, "L")}, False, False)
    named = [day for n in range(59) if cron.names_day(day := datetime(2026, 1, 1 + n % 31).date())]  # noqa: DTZ001
    assert named == []
    days = [day for day in range(1, 29) if cron.names_day(datetime(2026, 2, day).date())]  # noqa: DTZ001
    assert days == [1, 27]
    assert not read("0 0 30 2 *").names_any_day()


MUTANTS: dict[str, Any] = {
    "gaps never fire": lambda monkeypatch: swap_flag(monkeypatch, "gaps_fire", False),
    "gaps always fire": lambda monkeypatch: swap_flag(monkeypatch, "gaps_fire", True),
    "nothing repeats": lambda monkeypatch: swap_flag(monkeypatch, "repeats", False),
    "all repeats": lambda monkeypatch: swap_flag(monkeypatch, "repeats", True),
    "no gap is seen": lambda monkeypatch: monkeypatch.setattr(WallClockSchedule, "_fires_for_gap", lambda *_: False),
}


def swap_flag(monkeypatch: pytest.MonkeyPatch, name: str, value: bool) -> None:
    monkeypatch.setattr(parse_module, "WallClockSchedule", lambda *a, **k: WallClockSchedule(*a, **{**k, name: value}))


@pytest.fixture
def unshared_schedules() -> Iterator[None]:
    """Schedules are kept for whoever asks for the same: a mutant finds none that is right, and leaves none behind."""
    shared = (parse_module._cron, parse_module._daily)
    for function in shared:
        function.cache_clear()
    yield
    for function in shared:
        function.cache_clear()


@pytest.mark.usefixtures("unshared_schedules")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_product_is_noticed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[mutant](monkeypatch)
    tally = Tally()
    for change in [at for at in transitions("Europe/Berlin") if at.year == 2026]:
        compare_around(tally, "mutants", minutes_around("Europe/Berlin", change), change, 40)
    assert tally.mismatches


def test_the_same_seed_draws_the_same_definitions() -> None:
    walked = minutes_around("Europe/Berlin", BERLIN)
    one, two = ([draw(random, walked, BERLIN) for _ in range(50)] for random in (Random("a"), Random("a")))
    assert one == two

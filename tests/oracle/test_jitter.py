"""Jitter keeps occurrences apart: one starts before the next is due, and none after the job's end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from scheduler_core import InvalidJobError, ScheduleJob
from scheduler_core.domain.planning.plan import StoredJob, starts_at
from scheduler_core.domain.planning.planning import plan

from .compare import HOUR, minutes_around
from .definitions import draw
from .expression import read
from .occurrences import Definition, occurrences
from .transitions import transitions
from .walk import MINUTE, walk

AFTER = datetime(2027, 12, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def job(value: Any, kind: str = "cron", **rest: Any) -> ScheduleJob:
    return ScheduleJob("j", "J", kind, value, "app:f", **{"timezone": "UTC", **rest})


@pytest.mark.parametrize(
    ("expression", "gap"),
    [
        ("* * * * * *", 1),
        ("*/7 * * * *", 240),  # from minute 56 to the next hour
        ("* * * * *", 60),
        ("0,59 * * * *", 60),
        ("0 9,17 * * *", 8 * 3600),
        ("30 1,23 * * *", 2 * 3600),
        ("59,0 0,23 * * *", 60),
        ("0 9 * * *", 86_400),
        ("0 9 * * MON", 7 * 86_400),
        ("0 9 * * MON-FRI", 86_400),
        ("0 0 1 * *", 28 * 86_400),
        ("0 0 1,L * *", 86_400),
        ("0 0 29 2 *", 1461 * 86_400),
        ("0,30 0 1 1 *", 1800),
        ("15 0 0 1 * *", 28 * 86_400),
    ],
)
def test_the_least_between_two_times_bounds_the_jitter(expression: str, gap: int) -> None:
    """Beyond it several would start at one instant: refused where it is declared."""
    job(expression, jitter=gap - 0.001)
    for jitter in (gap, gap + 1, 10 * gap):
        if jitter < 300_000_000:
            with pytest.raises(InvalidJobError, match=f"not less than the least that lies between two times, {gap},"):
                job(expression, jitter=jitter)


@pytest.mark.parametrize(
    ("times", "gap"), [("09:00", 86_400), (["09:00", "09:05"], 300), (["00:10", "12:00", "23:59"], 660)]
)
def test_daily_times_too(times: object, gap: int) -> None:
    job(times, "daily", jitter=gap - 1)
    with pytest.raises(InvalidJobError, match=f"{gap}, give less"):
        job(times, "daily", jitter=gap)


def test_a_job_that_fires_once_may_have_any_jitter() -> None:
    job("2027-01-01T00:00:00", "once", jitter=400 * 86_400)


def test_the_least_between_two_times_as_it_is_walked() -> None:
    """By the minute: never less than what is computed, and mostly as little within 60 days."""
    random = Random("gaps")
    walked, drawn = walk("UTC", AFTER, AFTER + 60 * DAY, MINUTE, lead=HOUR), minutes_around("UTC", AFTER)
    exact = compared = 0
    while compared < 100:
        definition = draw(random, drawn, AFTER)
        if definition.kind != "cron" or not read(definition.value).names_any_day():
            continue
        gap = job(definition.value).definition("UTC").schedule(AFTER).pattern.shortest_gap()  # type: ignore[attr-defined]
        found = occurrences(Definition("cron", definition.value, "UTC", AFTER), walked)
        for before, after in pairwise(found):
            assert gap <= (after - before).total_seconds(), definition.value
        exact += any((after - before).total_seconds() == gap for before, after in pairwise(found))
        compared += 1
    assert exact > 60


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia"])
@pytest.mark.parametrize("dst", ["once", "skip", "both"])
@pytest.mark.parametrize(
    ("kind", "value", "jitter"),
    [
        ("daily", ["01:45", "02:30", "03:10"], 2_399),
        ("daily", ["00:00", "23:50"], 599),
        ("cron", "*/30 * * * *", 1_799),
        ("cron", "5 1,2,3 * * *", 3_599),
        ("interval", 600, 599),
    ],
)
def test_one_starts_before_the_next_is_due(zone: str, dst: str, kind: str, value: Any, jitter: int) -> None:
    """Also on a day on which a change of the clocks brings two times together, or shows one twice."""
    for change in transitions(zone)[-4:]:
        end = change + 30 * HOUR
        given = job(value, kind, timezone=zone, dst=dst, jitter=jitter, end_at=end).definition("UTC")
        schedule = given.schedule(change - 60 * HOUR)
        instant = schedule.next_after(change - 30 * HOUR)
        spread = []
        while instant is not None:
            following = schedule.next_after(instant)
            start = starts_at(given, schedule, instant)
            assert instant <= start
            assert start < following if following is not None else start <= end
            spread.append(start - instant)
            instant = following
        assert len(set(spread)) > len(spread) / 2


def test_no_two_are_planned_for_one_instant() -> None:
    """Planned every minute, a job of every fifth one starts each for itself."""
    given = job("*/5 * * * *", jitter=299).definition("UTC")
    schedule = given.schedule(AFTER)
    stored = StoredJob(given, 1, AFTER, schedule, schedule.next_after(AFTER))
    starts = []
    for minute in range(24 * 60):
        made = plan(stored, AFTER + minute * MINUTE)
        starts += [fire.due_at for fire in made.fires]
        assert len(made.fires) <= 1
        assert made.next_run is not None
        stored = stored.at(made.next_run)
    assert starts == sorted(set(starts))
    assert len(starts) > 280


def test_the_last_one_starts_by_the_end() -> None:
    end = AFTER + timedelta(hours=2)
    for kind, value, jitter in (
        ("cron", "0 * * * *", 3_599),
        ("interval", 3_600, 3_599),
        ("once", "2027-12-01T01:59:00", 3_600),
    ):
        given = job(value, kind, jitter=jitter, end_at=end).definition("UTC")
        schedule = given.schedule(AFTER)
        last = schedule.last_until(end)
        assert last is not None
        assert last <= starts_at(given, schedule, last) <= end

"""Stampedes: the seconds at which many jobs start at once.

Schedules that fire rarely enough are walked, a day at a time, the rarest first, as far as the budget goes. The others
(`steady`: a job of every second among them) are only asked about the seconds where the walked ones meet, and about
the full hours, which is where schedules meet that people write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from scheduler_core.domain.schedule.base import EPOCH
from scheduler_core.simulation.span import Day, Span
from scheduler_core.simulation.workload import SimulatedJob, Workload

WALK_BUDGET = 500_000
"""Occurrences that are walked at most: some seconds of work, whatever the jobs are."""

PER_DAY = 50
"""Seconds of a day that are looked at closely."""

LOOK_AT = 4
"""Times as many as asked for: many of them are the same jobs at another time of day."""

LEAST_JOBS = 2
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Stampede:
    """A second of the day at which many jobs start."""

    instant: datetime
    """The first at which as many do at this time of day."""
    count: int
    """Jobs that start in it."""
    days: int
    """On how many days of the span they do at this time of day."""
    jobs: tuple[SimulatedJob, ...]


@dataclass(frozen=True, slots=True)
class Stampedes:
    """The greatest ones, the greatest first, one for each time of day and for the same jobs."""

    top: tuple[Stampede, ...]
    steady_jobs: int
    """Jobs that fire too often to be walked: known only at full hours and where others meet. 0: all is exact."""


def find_stampedes(busy: Sequence[Workload], span: Span, most: int, budget: int = WALK_BUDGET) -> Stampedes:
    """The `most` greatest stampedes. Parameters: budget, occurrences that may be walked."""
    walked, steady = _divide(busy, span, budget)
    found: dict[time, tuple[int, datetime]] = {}
    for day in span.days:
        for second, count in _seconds(walked, steady, day).items():
            instant = EPOCH + timedelta(seconds=second)
            at = span.local(instant).time()
            if at not in found or count > found[at][0]:
                found[at] = count, instant
    top: dict[tuple[str, ...], Stampede] = {}
    for count, instant in sorted(found.values(), key=lambda item: (-item[0], item[1]))[: LOOK_AT * most]:
        who = [workload for workload in busy if _starts_at(workload, instant)]
        jobs = tuple(sorted((job for workload in who for job in workload.jobs), key=lambda job: job.job_id))
        # The same jobs every five minutes are one finding.
        stampede = Stampede(instant, count, _days_alike(who, instant, span), jobs)
        top.setdefault(tuple(job.job_id for job in jobs), stampede)
    return Stampedes(tuple(top.values())[:most], sum(workload.weight for workload in steady))


def _days_alike(who: Sequence[Workload], instant: datetime, span: Span) -> int:
    """On how many days these meet at this time of day."""
    local = span.local(instant)
    into_hour = timedelta(minutes=local.minute, seconds=local.second)
    instants = (day.edges[local.hour] + into_hour for day in span.days)
    return sum(
        span.local(at).time() == local.time() and all(_starts_at(workload, at) for workload in who) for at in instants
    )


def _divide(busy: Sequence[Workload], span: Span, budget: int) -> tuple[list[Workload], list[Workload]]:
    counted = [(workload.count(span.since, span.until), number) for number, workload in enumerate(busy)]
    walked: list[Workload] = []
    steady: list[Workload] = []
    for count, number in sorted(counted):
        budget -= count
        (walked if budget >= 0 else steady).append(busy[number])
    return walked, steady


def _seconds(walked: Sequence[Workload], steady: Sequence[Workload], day: Day) -> dict[int, int]:
    """The fullest seconds of a day, with the jobs that start in each."""
    starts: Counter[int] = Counter()
    for workload in walked:
        # A job that fires several times within a second is one job.
        for second in {_second(instant) for instant in workload.starts(day.since, day.until)}:
            starts[second] += workload.weight
    candidates = dict(starts.most_common(PER_DAY))
    if steady:
        for edge in day.edges[:-1]:
            candidates.setdefault(_second(edge), starts[_second(edge)])
        for second in candidates:
            candidates[second] += sum(workload.weight for workload in steady if _is_due(workload, second))
    return {second: count for second, count in candidates.items() if count >= LEAST_JOBS}


def _is_due(workload: Workload, second: int) -> bool:
    since = EPOCH + timedelta(seconds=second)
    # With jitter it may start at any time: spread, as far as anybody can say without walking.
    return workload.jitter_seconds == 0 and workload.count(since, since + _SECOND) > 0


def _starts_at(workload: Workload, instant: datetime) -> bool:
    return _is_due(workload, _second(instant)) or (workload.jitter_seconds > 0 and _starts_in(workload, instant))


def _starts_in(workload: Workload, instant: datetime) -> bool:
    since = instant - timedelta(seconds=workload.jitter_seconds)
    if workload.count(since, instant + _SECOND) > PER_DAY:
        return False
    return any(_second(start) == _second(instant) for start in workload.starts(since, instant + _SECOND))


def _second(instant: datetime) -> int:
    return (instant - EPOCH) // _SECOND

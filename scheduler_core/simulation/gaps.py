"""Gaps: the longest stretches in which nothing is due, which is where maintenance fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from scheduler_core.simulation.load import Load
from scheduler_core.simulation.workload import Workload

_ACCURACY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing is due from `since` (the last occurrence, or the span's begin) until `until`."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()


def find_gaps(busy: Sequence[Workload], load: Load, most: int) -> tuple[Gap, ...]:
    """The longest stretches that hold at least one whole hour without a fire, the longest first."""
    hours = [
        (day.edges[hour], day.edges[hour + 1], count)
        for day, counts in zip(load.span.days, load.fires, strict=True)
        for hour, count in enumerate(counts)
        if day.edges[hour] < day.edges[hour + 1]
    ]
    stretches = []
    for is_empty, group in groupby(hours, key=lambda hour: hour[2] == 0):
        held = list(group)
        if is_empty:
            stretches.append(Gap(held[0][0], held[-1][1]))
    # Each grows by less than an hour at either end, so a few more are looked at than are shown.
    longest = sorted(stretches, key=lambda gap: (-gap.seconds, gap.since))[: 3 * most]
    exact = [Gap(_last_before(busy, gap.since, load), _first_from(busy, gap.until, load)) for gap in longest]
    return tuple(sorted(exact, key=lambda gap: (-gap.seconds, gap.since))[:most])


def _first_from(busy: Sequence[Workload], instant: datetime, load: Load) -> datetime:
    firsts = (next(workload.walk(instant, load.span.until), load.span.until) for workload in busy)
    return min(firsts, default=load.span.until)


def _last_before(busy: Sequence[Workload], instant: datetime, load: Load) -> datetime:
    """The latest occurrence before `instant`, by bisection over counts, to the second."""
    low, high = max(load.span.since, instant - timedelta(hours=3)), instant
    near = [workload for workload in busy if workload.count(low, high)]
    if not near:
        return low
    while high - low > _ACCURACY:
        middle = low + (high - low) // 2
        later = [workload for workload in near if workload.count(middle, instant)]
        if later:
            low, near = middle, later
        else:
            high = middle
    return max(next(workload.walk(low, instant), low) for workload in near)

"""How many fires each hour has. Counted, not walked: a second of every day costs as much as a minute of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler_core.simulation.span import HOURS, Day, Span
from scheduler_core.simulation.workload import Workload

FEW = 8
"""Fires a day that are found faster one by one than by asking each hour."""


@dataclass(frozen=True, slots=True)
class Load:
    """Fires per day and hour of local time. An occurrence counts in the hour that it is due in, without jitter."""

    span: Span
    fires: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        return sum(map(sum, self.fires))

    @property
    def highest(self) -> int:
        """Fires of the busiest hour."""
        return max((max(hours) for hours in self.fires), default=0)

    @property
    def busiest(self) -> tuple[Day, int]:
        """The busiest hour: its day and its number; the first of equals."""
        day, hour = max(
            ((day, hour) for day in range(len(self.fires)) for hour in range(HOURS)),
            key=lambda place: self.fires[place[0]][place[1]],
        )
        return self.span.days[day], hour


def count_load(busy: Sequence[Workload], span: Span) -> Load:
    """Count the fires of all workloads."""
    table = [[0] * HOURS for _ in span.days]
    for workload in busy:
        for day, hours in zip(span.days, table, strict=True):
            _add(workload, day, hours)
    return Load(span, tuple(map(tuple, table)))


def _add(workload: Workload, day: Day, hours: list[int]) -> None:
    count = workload.count(day.since, day.until)
    if 0 < count <= FEW:
        for instant in workload.walk(day.since, day.until):
            hours[day.hour_of(instant)] += workload.weight
    elif count:
        for hour in range(HOURS):
            if day.edges[hour] < day.edges[hour + 1]:
                hours[hour] += workload.weight * workload.count(day.edges[hour], day.edges[hour + 1])

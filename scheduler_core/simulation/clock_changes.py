"""What changes of the UTC offset do to wall-clock jobs in the span: fires that are skipped, moved, doubled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from scheduler_core.domain.schedule.base import EPOCH, SECOND
from scheduler_core.domain.schedule.wall_clock import WallClockSchedule
from scheduler_core.domain.schedule.zone import Period, find_zone
from scheduler_core.simulation.span import Span
from scheduler_core.simulation.workload import SimulatedJob, Workload


class Effect(StrEnum):
    """What becomes of a wall time that the change skips or repeats."""

    SKIPPED = "skipped"
    """It is not shown on that day, and nothing fires for it."""
    MOVED = "moved"
    """It is not shown on that day, and fires when the clock has jumped."""
    DOUBLED = "doubled"
    """It is shown twice, and fires twice."""
    ONCE = "once"
    """It is shown twice, and fires the first time."""


@dataclass(frozen=True, slots=True)
class ClockChange:
    """The jobs on which one change of one zone's offset has one effect."""

    instant: datetime
    timezone: str
    shift_seconds: int
    """How far the clocks go forward; back is negative."""
    effect: Effect
    jobs: tuple[SimulatedJob, ...]
    wall_times: int
    """Of all of these jobs together."""


def find_clock_changes(busy: Sequence[Workload], span: Span) -> tuple[ClockChange, ...]:
    """Every change in the span that concerns a job, in order. Jobs that follow elapsed time are not concerned."""
    found: dict[tuple[datetime, str, int, Effect], tuple[list[SimulatedJob], int]] = {}
    changes: dict[str, list[tuple[Period, Period]]] = {}
    for workload in busy:
        schedule = workload.job.stored.schedule
        if not isinstance(schedule, WallClockSchedule):
            continue
        zone = schedule.zone.name
        if zone not in changes:
            changes[zone] = list(_changes(zone, span))
        for before, after in changes[zone]:
            if not schedule.start <= after.start * SECOND <= schedule.end:
                continue
            effect, wall_times = _effect(schedule, after)
            instant = EPOCH + timedelta(seconds=after.start)
            if effect is None or workload.exclusions.excludes(instant):
                continue
            jobs, count = found.get(key := (instant, zone, after.offset - before.offset, effect), ([], 0))
            found[key] = (jobs + list(workload.jobs), count + wall_times * workload.weight)
    return tuple(
        ClockChange(*key, jobs=tuple(sorted(jobs, key=lambda job: job.job_id)), wall_times=count)
        for key, (jobs, count) in sorted(found.items())
    )


def _changes(zone_name: str, span: Span) -> Iterator[tuple[Period, Period]]:
    zone = find_zone(zone_name)
    second, last = ((instant - EPOCH) // timedelta(seconds=1) for instant in (span.since, span.until))
    before = zone.period(second)
    while before is not None and before.end < last:
        after = zone.period(before.end)
        # A long period comes in pieces.
        if after is not None and after.offset != before.offset:
            yield before, after
        before = after


def _effect(schedule: WallClockSchedule, after: Period) -> tuple[Effect | None, int]:
    if schedule.repeats and not schedule.gaps_fire:
        return None, 0
    first_wall = after.start + after.offset
    left_out = schedule.pattern.count(after.frontier, first_wall)
    if left_out:
        return (Effect.MOVED if schedule.gaps_fire else Effect.SKIPPED), left_out
    repeated = schedule.pattern.count(first_wall, after.frontier)
    if repeated:
        return (Effect.DOUBLED if schedule.repeats else Effect.ONCE), repeated
    return None, 0

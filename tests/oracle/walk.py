"""Every minute, or second, of a span, as a clock in a zone shows it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


class Step(NamedTuple):
    """An instant, what the clock shows then, whether it showed that before, and what it has just jumped over."""

    instant: datetime
    wall: datetime
    repeated: bool
    skipped: tuple[datetime, ...]


@dataclass(frozen=True)
class Walk:
    """The steps of a span. The first ones, up to `after`, only tell what the clock showed before."""

    zone: str
    step: timedelta
    after: datetime
    steps: tuple[Step, ...]

    @property
    def until(self) -> datetime:
        return self.steps[-1].instant

    @cached_property
    def counted(self) -> tuple[Step, ...]:
        """The steps of which a definition's occurrences are asked: those later than `after`."""
        return tuple(step for step in self.steps if step.instant > self.after)

    @cached_property
    def unusual(self) -> tuple[datetime, ...]:
        """The wall times that the clock skips or repeats."""
        repeated = tuple(step.wall for step in self.counted if step.repeated)
        return repeated + tuple(wall for step in self.counted for wall in step.skipped)

    def resolve(self, wall: datetime) -> datetime | None:
        """The first instant that shows `wall`, or the first one after it was jumped over."""
        for step in self.steps:
            if step.wall == wall or wall in step.skipped:
                return step.instant
        return None


def walk(zone: str, after: datetime, until: datetime, step: timedelta, lead: timedelta) -> Walk:
    """Walk from `lead` before `after` to `until`, inclusive."""
    info = ZoneInfo(zone)
    steps: list[Step] = []
    shown: set[datetime] = set()
    instant = (after - lead).astimezone(UTC)
    before: datetime | None = None
    while instant <= until:
        wall = instant.astimezone(info).replace(tzinfo=None, fold=0)
        skipped: list[datetime] = []
        if before is not None:
            missing = before + step
            while missing < wall:
                if missing not in shown:
                    skipped.append(missing)
                missing += step
        steps.append(Step(instant, wall, wall in shown, tuple(skipped)))
        shown.add(wall)
        before = wall
        instant += step
    return Walk(zone, step, after, tuple(steps))


def between(instants: list[datetime], after: datetime, until: datetime) -> list[datetime]:
    """Those of sorted instants that lie in (after, until]."""
    return instants[bisect_right(instants, after) : bisect_right(instants, until)]


def from_to(instants: list[datetime], start: datetime, end: datetime) -> list[datetime]:
    """Those of sorted instants that lie in [start, end]."""
    return instants[bisect_left(instants, start) : bisect_right(instants, end)]

"""DAILY and CRON: a wall-clock pattern laid over the periods of a zone. The one place that knows the DST
rule.

Within a period of constant UTC offset an occurrence is an instant whose wall time matches. Only the edges
differ:

- where the clock jumped forward, walls between the frontier and the period's first wall were never shown; if
  any of them matches, the period's first instant is an occurrence (once, however many match) when
  `gaps_fire`;
- where it went back, the period begins with walls that were shown before; they match again when `repeats`.

So with gaps that fire and no repeats, a wall time fires at the first instant at which the clock shows it or
a later one, whatever the zone does: half-hour DST, a day left out, negative DST.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler_core.domain.schedule.base import EARLIEST, LATEST, SECOND, Schedule
from scheduler_core.domain.schedule.pattern import EveryDay, WallPattern
from scheduler_core.domain.schedule.zone import DAY, Period, Zone

_MOST_PERIODS = 500
"""How many periods are looked through for one occurrence. A pattern whose every wall time falls into a gap
(02:30 on the last Sunday of March, skipped) is given up after more than a century of them.
"""


@dataclass(frozen=True, slots=True)
class WallClockSchedule(Schedule):
    """The instants at which the clock of `zone` shows a wall time of `pattern`, with the DST rule given by
    both flags.
    """

    pattern: WallPattern
    zone: Zone
    gaps_fire: bool
    repeats: bool

    @property
    def may_never_fire(self) -> bool:
        """Whether all that the pattern names might lie in gaps: never so where gaps fire, or every day counts."""
        return not self.gaps_fire and not isinstance(self.pattern.days, EveryDay)

    def _next(self, after: int) -> int | None:
        second = max(after, EARLIEST) // SECOND + 1
        for _ in range(_MOST_PERIODS):
            if (period := self.zone.period(second)) is None:
                return None
            if second <= period.start and self._fires_for_gap(period):
                return period.start * SECOND
            wall = self.pattern.next(max(self._first_wall(period), second + period.offset))
            if wall is not None and wall < period.end + period.offset:
                return (wall - period.offset) * SECOND
            # Walls still to come are later than `end - DAY`, and an occurrence is less than a day from its
            # wall: so a sparse pattern leaps over the years between.
            wall = self.pattern.next(period.end - DAY)
            if wall is None:
                return None
            second = max(period.end, wall - DAY)
        return None

    def _last(self, until: int) -> int | None:
        second = min(until, LATEST) // SECOND
        for _ in range(_MOST_PERIODS):
            if (period := self.zone.period(second)) is None:
                return None
            wall = self.pattern.last(min(second, period.end - 1) + period.offset)
            if wall is not None and wall >= self._first_wall(period):
                return (wall - period.offset) * SECOND
            if self._fires_for_gap(period):
                return period.start * SECOND
            wall = self.pattern.last(period.start - 1 + DAY)
            if wall is None:
                return None
            second = min(period.start - 1, wall + DAY)
        return None

    def _count(self, after: int, until: int) -> int:
        second = max(after, EARLIEST) // SECOND + 1
        last = min(until, LATEST) // SECOND
        total = 0
        while second <= last and (period := self.zone.period(second)) is not None:
            start = max(self._first_wall(period), second + period.offset)
            total += self.pattern.count(start, min(period.end, last + 1) + period.offset)
            if second == period.start and self._fires_for_gap(period):
                first_wall = period.start + period.offset
                # The first wall after the gap may match as well: that is the same instant.
                total += 1 - self.pattern.count(first_wall, first_wall + 1)
            second = period.end
        return total

    def _first_wall(self, period: Period) -> int:
        first = period.start + period.offset
        return first if self.repeats else max(first, period.frontier)

    def _fires_for_gap(self, period: Period) -> bool:
        if not self.gaps_fire or period.frontier >= period.start + period.offset:
            return False
        wall = self.pattern.next(period.frontier)
        return wall is not None and wall < period.start + period.offset

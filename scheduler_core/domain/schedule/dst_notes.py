"""What a change of the clocks does to an occurrence, in words: a wall time that does not exist, or exists twice."""

from __future__ import annotations

from datetime import datetime, timedelta

from scheduler_core.domain.schedule import Schedule
from scheduler_core.domain.schedule.base import SECOND, to_micros
from scheduler_core.domain.schedule.wall_clock import WallClockSchedule
from scheduler_core.domain.schedule.zone import Period

_MIDNIGHT = datetime(1970, 1, 1)  # noqa: DTZ001 - walls have no zone


def dst_note(schedule: Schedule, instant: datetime) -> str | None:
    """What to say about an occurrence of a DAILY or CRON schedule; None for most, and for the other kinds."""
    if not isinstance(schedule, WallClockSchedule):
        return None
    second = to_micros(instant) // SECOND
    period = schedule.zone.period(second)
    if period is None:
        return None
    missing = _missing_wall(schedule, period, second)
    if missing is not None:
        return (
            f"{_wall(missing)} does not exist on that day: the clocks go from {_wall(period.frontier)} to "
            f"{_wall(period.start + period.offset)}, and it fires then"
        )
    wall = second + period.offset
    if wall < period.frontier:
        return f"{_wall(wall)} exists twice on that day: this is the second one"
    after = schedule.zone.period(period.end)
    if after is not None and wall >= after.start + after.offset:
        fires = "it fires at both" if schedule.repeats else "it fires at this one only"
        return f"{_wall(wall)} exists twice on that day: this is the first one, and {fires}"
    return None


def _missing_wall(schedule: WallClockSchedule, period: Period, second: int) -> int | None:
    """The wall time in the gap before the period on whose behalf its first instant fires."""
    first = period.start + period.offset
    if second != period.start or not schedule.gaps_fire or period.frontier >= first:
        return None
    wall = schedule.pattern.next(period.frontier)
    return wall if wall is not None and wall < first else None


def _wall(seconds: int) -> str:
    wall = _MIDNIGHT + timedelta(seconds=seconds)
    return f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"

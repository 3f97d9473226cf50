"""From a job's `schedule_type` and `schedule_value` to a `Schedule`, and to the canonical value that is
stored.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import assert_never

from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.schedule.base import (
    EARLIEST,
    EPOCH,
    LATEST,
    Dst,
    Schedule,
    ScheduleType,
    from_micros,
    to_micros,
)
from scheduler_core.domain.schedule.cron import normalize_expression, parse_cron
from scheduler_core.domain.schedule.daily import daily_pattern, format_times, parse_times
from scheduler_core.domain.schedule.interval import IntervalSchedule, parse_step, step_seconds
from scheduler_core.domain.schedule.once import OnceSchedule
from scheduler_core.domain.schedule.pattern import WallPattern
from scheduler_core.domain.schedule.wall_clock import WallClockSchedule
from scheduler_core.domain.schedule.zone import find_zone
from scheduler_core.domain.wording import shown

_RULES_OF_TODAY = datetime(2025, 1, 1, tzinfo=EPOCH.tzinfo)
"""A fixed instant, so that what was accepted stays accepted: zones' rules are looked at from here on."""


def parse_schedule(
    schedule_type: ScheduleType,
    value: object,
    *,
    timezone: str,
    anchor: datetime,
    start_at: datetime | str | None = None,
    end_at: datetime | str | None = None,
    dst: Dst = Dst.ONCE,
) -> Schedule:
    """The schedule that a job's definition describes (docs/schedules.md says what `value` may be for each type).

    Parameters: timezone, an IANA name: naive datetimes and wall times are in it; anchor, an aware instant,
    is when the job was first stored: an INTERVAL without `start_at` counts from it (its first occurrence is
    one interval later, whereas `start_at` itself is one), and it is the instant of a ONCE without value;
    start_at, end_at, both inclusive, bound the occurrences.

    Raises InvalidScheduleError when a value can't be read, or there can never be an occurrence.
    """
    start = EARLIEST if start_at is None else _parse_micros(start_at, timezone)
    end = LATEST if end_at is None else _parse_micros(end_at, timezone)
    if start >= end:
        raise InvalidScheduleError(
            f"start_at {from_micros(start).isoformat()} is not before end_at {from_micros(end).isoformat()}: "
            "give a later end_at or an earlier start_at."
        )
    schedule: Schedule
    match schedule_type:
        case ScheduleType.INTERVAL:
            step = parse_step(value)
            origin = to_micros(anchor) + step if start_at is None else start
            return IntervalSchedule(start, end, origin, step)
        case ScheduleType.ONCE:
            instant = to_micros(anchor) if value is None else _parse_micros(value, timezone)
            schedule = OnceSchedule(start, end, instant)
            # Whether "the moment at which it was stored" lies within the bounds is no mistake of the
            # definition.
            must_fire = value is not None
        case ScheduleType.DAILY:
            schedule = _daily(parse_times(value), timezone, (start, end), dst)
            must_fire = start_at is not None and end_at is not None
        case ScheduleType.CRON:
            schedule = on_the_wall = _cron(normalize_expression(value), timezone, (start, end), dst)
            must_fire = (start_at is not None and end_at is not None) or on_the_wall.may_never_fire
        case _:
            assert_never(schedule_type)
    if must_fire and schedule.is_empty:
        if end_at is not None or schedule_type == ScheduleType.ONCE:
            raise InvalidScheduleError(
                f"The {schedule_type} schedule {shown(value)} has no occurrence between start_at and end_at, so "
                "it would never fire: widen them."
            )
        # Without bounds only the clock itself is in the way: every time that is named lies in a gap.
        if schedule.next_after(_RULES_OF_TODAY) is None:
            raise InvalidScheduleError(
                f"The {schedule_type} schedule {shown(value)} would never fire: every time that it names is one that "
                f"the clocks of {timezone} skip. Give another time, or dst='once' and no '*' in hour and minute."
            )
    return schedule


def normalize_value(schedule_type: ScheduleType, value: object, timezone: str) -> int | float | str | list[str] | None:
    """The canonical, JSON-able form of a schedule's value: two values with the same form mean the same
    schedule.

    INTERVAL: seconds, an int when whole; DAILY: sorted, distinct "HH:MM:SS"; ONCE: ISO string in UTC, or
    None; CRON: the expression with single spaces. `parse_schedule` reads it back. `timezone` is that of
    naive datetimes.

    Raises InvalidScheduleError when the value can't be read.
    """
    match schedule_type:
        case ScheduleType.INTERVAL:
            return step_seconds(parse_step(value))
        case ScheduleType.DAILY:
            return format_times(parse_times(value))
        case ScheduleType.ONCE:
            return None if value is None else parse_instant(value, timezone).isoformat()
        case ScheduleType.CRON:
            expression = normalize_expression(value)
            parse_cron(expression)
            return expression
        case _:
            assert_never(schedule_type)


def value_of(
    schedule: Schedule, schedule_type: ScheduleType, value: object, timezone: str
) -> int | float | str | list[str] | None:
    """What `normalize_value` makes of the value that `schedule` was parsed from, without reading it again."""
    if type(schedule) is IntervalSchedule:
        return step_seconds(schedule.step)
    if type(schedule) is OnceSchedule:
        return None if value is None else from_micros(schedule.instant).isoformat()
    return normalize_value(schedule_type, value, timezone)


def read_moment(value: object) -> datetime | None:
    """A datetime, or an ISO string read as one, naive or not; None for anything else."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    return value if isinstance(value, datetime) else None


def parse_instant(value: object, timezone: str) -> datetime:
    """A datetime or ISO string as an aware datetime in UTC; a naive one is a wall time in `timezone`.

    A naive one that doesn't exist there is the first valid instant after the gap; one that exists twice is
    the first. Raises InvalidScheduleError for anything else, and outside the years 1900 to 8999.
    """
    return from_micros(_parse_micros(value, timezone))


def _parse_micros(value: object, timezone: str) -> int:
    moment = read_moment(value)
    if moment is None:
        raise InvalidScheduleError(
            f"An instant can't be {shown(value)}: give a datetime or an ISO string such as '2027-01-31T14:30:00'."
        )
    if moment.utcoffset() is None:
        moment = find_zone(timezone).to_utc(moment.replace(tzinfo=None))
    micros = (moment - EPOCH) // datetime.resolution
    if not EARLIEST <= micros < LATEST:
        raise InvalidScheduleError(
            f"The instant {shown(moment.isoformat())} is out of range: give one in the years 1900 to 8999."
        )
    return micros


# Nothing on the wall depends on the anchor, so jobs of the same times share their schedule: it is made once, and kept
# once where thousands of them are known.
@lru_cache(maxsize=4_096)
def _daily(times: tuple[int, ...], timezone: str, bounds: tuple[int, int], dst: Dst) -> WallClockSchedule:
    return _on_the_wall(daily_pattern(times), timezone, bounds, dst)


@lru_cache(maxsize=4_096)
def _cron(expression: str, timezone: str, bounds: tuple[int, int], dst: Dst) -> WallClockSchedule:
    cron = parse_cron(expression)
    return _on_the_wall(cron.pattern, timezone, bounds, dst, follows_elapsed_time=cron.follows_elapsed_time)


def _on_the_wall(
    pattern: WallPattern,
    timezone: str,
    bounds: tuple[int, int],
    dst: Dst,
    *,
    follows_elapsed_time: bool = False,
) -> WallClockSchedule:
    return WallClockSchedule(
        *bounds,
        pattern,
        find_zone(timezone),
        gaps_fire=dst != Dst.SKIP and not follows_elapsed_time,
        repeats=dst == Dst.BOTH or follows_elapsed_time,
    )

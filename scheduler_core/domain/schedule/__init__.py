"""Schedules: which instants a job is due at, as pure functions of its definition.

A `Schedule` answers four questions (`next_after`, `last_until`, `count`, `first`) and holds no state, so
every replica computes the same instants. Nothing walks: a year of one-second ticks is counted by arithmetic
(kubernetes #42649).

- `interval`, `once`: arithmetic on microseconds.
- `daily`, `cron`: a wall-clock pattern (`pattern`: days x times of day) laid over a zone's periods of
  constant UTC offset (`zone`) by `wall_clock`, which is where the one DST rule is.
"""

from scheduler_core.domain.schedule.base import Dst, Schedule, ScheduleType, ScheduleValue, Times
from scheduler_core.domain.schedule.parse import normalize_value, parse_instant, parse_schedule, read_moment, value_of
from scheduler_core.domain.schedule.zone import check_timezone

__all__ = [
    "Dst",
    "Schedule",
    "ScheduleType",
    "ScheduleValue",
    "Times",
    "check_timezone",
    "normalize_value",
    "parse_instant",
    "parse_schedule",
    "read_moment",
    "value_of",
]

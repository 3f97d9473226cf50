"""DAILY: one or more times of day."""

from __future__ import annotations

import re
from datetime import time
from functools import lru_cache

from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.schedule.pattern import EveryDay, TimeList, WallPattern
from scheduler_core.domain.wording import shown

_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_MOST_TIMES = 1440


def parse_times(value: object) -> tuple[int, ...]:
    """Times of day ("HH:MM", "HH:MM:SS", a `datetime.time`, or a list of them) as sorted, distinct seconds.

    Raises InvalidScheduleError for anything else, an empty list and more than 1,440 times.
    """
    if isinstance(value, (str, time)):
        return (_parse_time(value),)
    if isinstance(value, list) and len(value) == 1:
        # What is stored of most.
        return (_parse_time(value[0]),)
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise InvalidScheduleError(
            f"A daily time can't be {shown(value)}: give 'HH:MM' or 'HH:MM:SS', or a list of them."
        )
    times = set()
    for count, item in enumerate(value, start=1):
        if count > _MOST_TIMES:
            raise InvalidScheduleError(
                f"A daily schedule has more than {_MOST_TIMES} times: use a cron expression or an interval."
            )
        times.add(_parse_time(item))
    if not times:
        raise InvalidScheduleError("A daily schedule has no times: give at least one, such as ['14:30'].")
    return tuple(sorted(times))


def format_times(times: tuple[int, ...]) -> list[str]:
    """The canonical value of a daily schedule: seconds of the day as "HH:MM:SS"."""
    return [_format_time(second) for second in times]


def daily_pattern(times: tuple[int, ...]) -> WallPattern:
    """Every day at these seconds of the day."""
    return WallPattern(EveryDay(), TimeList(times))


def _parse_time(value: object) -> int:
    if isinstance(value, time) and value.tzinfo is None and value.microsecond == 0:
        return value.hour * 3600 + value.minute * 60 + value.second
    second = _read_time(value) if isinstance(value, str) else None
    if second is not None:
        return second
    raise InvalidScheduleError(
        f"A daily time can't be {shown(value)}: give 'HH:MM' or 'HH:MM:SS' from '00:00' to '23:59:59'."
    )


@lru_cache(maxsize=4_096)
def _read_time(text: str) -> int | None:
    """Many jobs share a time of day."""
    match = _TIME.fullmatch(text.strip())
    if match:
        hour, minute, second = (int(part or 0) for part in match.groups())
        if hour < 24 and minute < 60 and second < 60:
            return hour * 3600 + minute * 60 + second
    return None


@lru_cache(maxsize=4_096)
def _format_time(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"

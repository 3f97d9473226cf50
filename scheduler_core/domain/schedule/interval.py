"""INTERVAL: instants a fixed time apart, by integer arithmetic, so that nothing drifts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.schedule.base import LATEST, SECOND, Schedule
from scheduler_core.domain.schedule.duration_words import duration_seconds
from scheduler_core.domain.wording import shown

_SHORTEST = SECOND // 1000
_LONGEST = 3652 * 86_400 * SECOND
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class IntervalSchedule(Schedule):
    """The instants `origin + k x step`, k >= 0, both in microseconds."""

    origin: int
    step: int

    def _next(self, after: int) -> int | None:
        k = max(0, (after - self.origin) // self.step + 1)
        found = self.origin + k * self.step
        return found if found <= LATEST else None

    def _last(self, until: int) -> int | None:
        k = (until - self.origin) // self.step
        return self.origin + k * self.step if k >= 0 else None

    def _count(self, after: int, until: int) -> int:
        passed = max(-1, (after - self.origin) // self.step)
        return max(-1, (until - self.origin) // self.step) - passed


def parse_step(value: object) -> int:
    """An interval (seconds as int, float or numeric string, or a timedelta) in microseconds.

    Raises InvalidScheduleError for anything else, and below 1 ms or above 10 years.
    """
    step = _read_step(value)
    if step is None:
        seconds = duration_seconds(value) if isinstance(value, str) else None
        meant = "" if seconds is None else f", here {seconds:g}"
        raise InvalidScheduleError(
            f"An interval can't be {shown(value)}: give seconds as a finite number or numeric string{meant}, or a "
            "timedelta."
        )
    if not _SHORTEST <= step <= _LONGEST:
        raise InvalidScheduleError(
            f"An interval can't be {shown(value)}: give at least 0.001 seconds and at most 10 years "
            f"({_LONGEST // SECOND} seconds)."
        )
    return step


def step_seconds(step: int) -> int | float:
    """The canonical value of an interval: seconds, an int when whole, else a float that parses back to
    `step`.
    """
    return step // SECOND if step % SECOND == 0 else step / SECOND


def _read_step(value: object) -> int | None:
    if isinstance(value, timedelta):
        return value // _MICROSECOND
    if isinstance(value, str):
        try:
            value = float(value) if len(value) <= 50 and value.isascii() and "_" not in value else None
        except ValueError:
            return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value * SECOND
    # The bound comes first: 1e300 seconds in microseconds is no number one wants to round.
    if isinstance(value, float) and math.isfinite(value):
        return round(max(-1.0, min(value, 1e12)) * SECOND)
    return None

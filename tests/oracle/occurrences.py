"""Which steps of a walk a definition fires at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .expression import read
from .walk import Walk, from_to


@dataclass(frozen=True)
class Definition:
    """A schedule as a user writes it. `anchor` is when an INTERVAL, or a ONCE without value, was first stored."""

    kind: str
    value: Any
    zone: str
    anchor: datetime
    dst: str = "once"
    start_at: datetime | None = None
    end_at: datetime | None = None

    def fields(self) -> dict[str, Any]:
        """As keywords of ScheduleJob."""
        return {
            "schedule_type": self.kind,
            "schedule_value": self.value,
            "timezone": self.zone,
            "dst": self.dst,
            "start_at": self.start_at,
            "end_at": self.end_at,
        }


def occurrences(definition: Definition, walk: Walk) -> list[datetime]:
    """The occurrences among the walk's counted steps, in order."""
    match definition.kind:
        case "interval":
            found = _interval(definition, walk)
        case "once":
            found = _once(definition, walk)
        case "daily":
            found = _on_the_wall(_daily(definition.value), walk, definition.dst, rhythm=False)
        case _:
            cron = read(definition.value)
            found = _on_the_wall(cron.names, walk, definition.dst, rhythm=cron.rhythm)
    start, end = bounds(definition, walk)
    return from_to(found, start or walk.after, end or walk.until)


def bounds(definition: Definition, walk: Walk) -> tuple[datetime | None, datetime | None]:
    """`start_at` and `end_at` as instants; naive ones are what the clock of the zone shows."""
    return _instant(definition.start_at, walk), _instant(definition.end_at, walk)


def _instant(given: datetime | None, walk: Walk) -> datetime | None:
    if given is None or given.tzinfo is not None:
        return given
    return walk.resolve(given)


def _on_the_wall(names: Callable[[datetime], bool], walk: Walk, dst: str, *, rhythm: bool) -> list[datetime]:
    found = []
    for instant, wall, repeated, skipped in walk.counted:
        if rhythm:
            # Elapsed time: whatever the clock shows counts, as often as it shows it, and what it skips does not.
            fires = names(wall)
        else:
            fires = (not repeated or dst == "both") and names(wall)
            if skipped and dst != "skip" and not fires:
                fires = any(map(names, skipped))
        if fires:
            found.append(instant)
    return found


def _daily(value: Any) -> Callable[[datetime], bool]:
    times = set()
    for text in [value] if isinstance(value, str) else value:
        hour, minute, second = (*map(int, text.split(":")), 0)[:3]
        times.add((hour, minute, second))
    return lambda wall: (wall.hour, wall.minute, wall.second) in times


def _interval(definition: Definition, walk: Walk) -> list[datetime]:
    step = timedelta(seconds=definition.value)
    start = _instant(definition.start_at, walk)
    instant = definition.anchor + step if start is None else start
    found = []
    while instant <= walk.until:
        if instant > walk.after:
            found.append(instant)
        instant += step
    return found


def _once(definition: Definition, walk: Walk) -> list[datetime]:
    instant = definition.anchor if definition.value is None else _instant(definition.value, walk)
    return [] if instant is None or not walk.after < instant <= walk.until else [instant]

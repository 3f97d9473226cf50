"""Segments: consecutive occurrences of a schedule that a job's calendars either all allow or all exclude.

A segment is counted, not walked: the edges come from the calendars, the counts from the schedule. So a year of
one-second ticks over business days is a hundred segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler_core.domain.calendars.calendars import Exclusions
from scheduler_core.domain.schedule import Schedule

TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` occurrences from `first` to `last`, all of them allowed or all of them excluded."""

    count: int
    first: datetime
    last: datetime
    excluded: bool


def segments(schedule: Schedule, exclusions: Exclusions, cursor: datetime, before: datetime) -> Iterator[Segment]:
    """The segments from the cursor up to, not including, `before`, in order; their kinds alternate.

    The cursor itself counts as an occurrence, also where somebody moved it by hand to an instant off the schedule.
    """
    found: Segment | None = None
    at: datetime | None = cursor
    while at is not None and at < before:
        excluded = exclusions.excludes(at)
        until = exclusions.edge_after(at, before) - TICK
        last = max(schedule.last_until(until) or at, at)
        count = 1 + schedule.count(at, until)
        if found is not None and found.excluded == excluded:
            # Between them lay days of the other kind, and no occurrence.
            found = Segment(found.count + count, found.first, last, excluded)
        else:
            if found is not None:
                yield found
            found = Segment(count, at, last, excluded)
        at = schedule.next_after(last)
    if found is not None:
        yield found


def occurrence_at(schedule: Schedule, cursor: datetime, index: int, last: datetime) -> datetime:
    """The `index`-th occurrence after the cursor and up to `last`, by bisection over counts in constant memory."""
    if index == 0:
        return cursor
    low, high = cursor, last
    while high - low > TICK:
        middle = low + (high - low) // 2
        if schedule.count(cursor, middle) >= index:
            high = middle
        else:
            low = middle
    return high


def allowed_occurrences(
    schedule: Schedule, exclusions: Exclusions, first: datetime | None, until: datetime
) -> Iterator[tuple[datetime, int]]:
    """The occurrences from `first` up to and with `until` that the calendars allow.

    Each comes with how many the calendars left out just before it.
    """
    at, left_out = first, 0
    while at is not None and at <= until:
        if exclusions.excludes(at):
            edge = exclusions.edge_after(at, until + TICK)
            left_out += 1 + schedule.count(at, edge - TICK)
            at = schedule.next_after(edge - TICK)
        else:
            yield at, left_out
            at, left_out = schedule.next_after(at), 0

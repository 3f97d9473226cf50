"""What the product says about a definition, beside what the walk says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from scheduler_core import InvalidScheduleError, ScheduleJob, next_fires
from scheduler_core.domain.schedule import Schedule

from .definitions import DST, draw
from .expression import read
from .occurrences import Definition, bounds, occurrences
from .walk import MINUTE, SECOND, Walk, between, walk

TICK = timedelta(microseconds=1)

HOUR = timedelta(hours=1)


@dataclass
class Tally:
    """What was compared, and what differed."""

    counts: Counter[str] = field(default_factory=Counter)
    mismatches: list[str] = field(default_factory=list)

    def mismatch(self, definition: Definition, what: str, ours: object, expected: object) -> None:
        self.counts["mismatches"] += 1
        self.mismatches.append(f"{definition}: {what}: {ours}, but the walk says {expected}")


def minutes_around(zone: str, change: datetime) -> Walk:
    """Minutes from 26 hours before a change to 26 after: offsets lie at most a day apart, which takes that lead."""
    return walk(zone, change - 26 * HOUR, change + 26 * HOUR, MINUTE, lead=26 * HOUR)


def seconds_around(zone: str, change: datetime) -> Walk:
    """Seconds of the hours around a change; it may repeat or skip up to three hours, which takes that lead."""
    return walk(zone, change - 3 * HOUR, change + 3 * HOUR, SECOND, lead=3 * HOUR)


def compare_around(tally: Tally, seed: str, walked: Walk, change: datetime, how_many: int) -> None:
    """Draw definitions near a change, and compare each."""
    random = Random(seed)
    for _ in range(how_many):
        compare(tally, draw(random, walked, change), walked, random)


def compare(tally: Tally, definition: Definition, walked: Walk, random: Random) -> None:
    """All questions about one definition, within one walk."""
    expected = occurrences(definition, walked)
    tally.counts["definitions"] += 1
    tally.counts[definition.kind] += 1
    if walked.unusual and definition.kind in ("cron", "daily"):
        others = [occurrences(replace(definition, dst=dst), walked) for dst in DST if dst != definition.dst]
        tally.counts["definitions that dst changes"] += any(other != expected for other in others)
    try:
        job = ScheduleJob(job_id="j", name="j", callback="app:f", **definition.fields())
    except InvalidScheduleError as error:
        if not _rightly_refused(definition, walked, expected, str(error)):
            tally.mismatch(definition, "refused", error, expected[:3])
        tally.counts["refused"] += 1
        return
    tally.counts["occurrences"] += len(expected)
    tally.counts["questions"] += _ask(tally, definition, job, walked, expected, random)


def _rightly_refused(definition: Definition, walked: Walk, expected: list[datetime], error: str) -> bool:
    start, end = bounds(definition, walked)
    if "is not before end_at" in error:
        return start is not None and end is not None and start >= end
    if "no year has" in error:
        return not read(definition.value).names_any_day()
    if "never fire" in error:
        return not expected
    return False


def _ask(
    tally: Tally, definition: Definition, job: ScheduleJob, walked: Walk, expected: list[datetime], random: Random
) -> int:
    after, until = walked.after, walked.until
    schedule = job.definition("UTC").schedule(definition.anchor)

    def check(what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            tally.mismatch(definition, what, ours, theirs)

    # `next_fires` takes `after` for the moment at which the job was first stored, so it is asked only where the
    # definition was; the schedule of the stored job answers for other anchors.
    if definition.anchor == after:
        fires = next_fires(job, after, len(expected) + 1)
        if definition.kind == "once" and definition.value is None:
            check("next_fires", [instant for instant in fires if instant != after], expected)
        else:
            check("next_fires", [instant for instant in fires if instant <= until], expected)
    check("next_after", _forwards(schedule, after, until, len(expected)), expected)
    check("last_until", _backwards(schedule, after, until, len(expected)), expected[::-1])
    check("count", schedule.count(after, until), len(expected))
    asked = 4
    for _ in range(3):
        low, high = sorted((random.choice(walked.counted).instant, random.choice(walked.counted).instant))
        low -= random.choice((timedelta(0), TICK))
        high -= random.choice((timedelta(0), TICK))
        within = between(expected, low, high)
        check(f"count of ({low}, {high}]", schedule.count(low, high), len(within))
        check(f"next_after {low}", _at_most(schedule.next_after(low), high), within[0] if within else None)
        check(f"last_until {high}", _at_least(schedule.last_until(high), low), within[-1] if within else None)
        asked += 3
    return asked


def _forwards(schedule: Schedule, after: datetime, until: datetime, most: int) -> list[datetime]:
    found: list[datetime] = []
    instant = schedule.next_after(after)
    while instant is not None and instant <= until and len(found) <= most:
        found.append(instant)
        instant = schedule.next_after(instant)
    return found


def _backwards(schedule: Schedule, after: datetime, until: datetime, most: int) -> list[datetime]:
    found: list[datetime] = []
    instant = schedule.last_until(until)
    while instant is not None and instant > after and len(found) <= most:
        found.append(instant)
        instant = schedule.last_until(instant - TICK)
    return found


def _at_most(instant: Any, limit: datetime) -> Any:
    return instant if instant is not None and instant <= limit else None


def _at_least(instant: Any, limit: datetime) -> Any:
    return instant if instant is not None and instant > limit else None

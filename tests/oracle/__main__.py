"""`python -m tests.oracle [--definitions N] [--zone ZONE …] [--every-zone] [--seed TEXT]`: the long comparison.

Every change of the clock from 2000 to 2037 in the odd zones, or in every zone of the tz database; then long missed
spans. Prints counts and mismatches as JSON; ends with 1 if there is a mismatch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from scheduler_core import InvalidScheduleError, ScheduleJob
from scheduler_core.domain.schedule.zone import find_zone

from .compare import HOUR, Tally, compare_around, minutes_around, seconds_around
from .definitions import DST, draw
from .occurrences import Definition, occurrences
from .plans import compare_jitter, compare_plan, compare_plan_at
from .transitions import FIRST, LAST, ODD_ZONES, every_zone, transitions
from .walk import MINUTE, walk

QUIET = datetime(2026, 6, 15, 12, tzinfo=UTC)
"""For zones whose clock never changes: any instant will do."""

WHOLE_HOURS = ("Africa/Casablanca", "America/New_York", "America/Sao_Paulo", "Antarctica/Troll", "Asia/Gaza", "UTC")
HOURLY = ("0 * * * *", "0 2 * * *", "0 0,1,2,3 * * SUN", "0 */3 * * *", "0 2 L * *", "0 0 29 2 *", "0 1 * 3,10 7L")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--definitions", type=int, default=24, help="per change of the clock, by minutes")
    parser.add_argument("--zone", action="append", help="only this one; may be repeated")
    parser.add_argument("--every-zone", action="store_true", help="every zone of the tz database")
    parser.add_argument("--seed", default="oracle")
    given = parser.parse_args()
    zones = given.zone or (every_zone() if given.every_zone else ODD_ZONES)
    began, tally = time.monotonic(), Tally()
    for zone in zones:
        tally.counts["zones"] += 1
        around_every_change(tally, zone, given.definitions, given.seed)
        offsets_every_hour(tally, zone)
        print(f"{zone}: {tally.counts['mismatches']} mismatches so far", file=sys.stderr)
    for zone in WHOLE_HOURS if not given.zone else ():
        long_spans(tally, zone, given.seed)
    for mismatch in tally.mismatches[:50]:
        print(mismatch, file=sys.stderr)
    seconds = round(time.monotonic() - began)
    print(json.dumps({**dict(sorted(tally.counts.items())), "mismatches": len(tally.mismatches), "seconds": seconds}))
    sys.exit(1 if tally.mismatches else 0)


def around_every_change(tally: Tally, zone: str, how_many: int, seed: str) -> None:
    for change in transitions(zone) or (QUIET,):
        name = f"{seed} {zone} {change}"
        tally.counts["changes of the clock"] += 1
        minutes = minutes_around(zone, change)
        tally.counts["steps walked"] += len(minutes.steps)
        compare_around(tally, name, minutes, change, how_many)
        random = Random(f"{name} plans")
        for _ in range(max(1, how_many // 8)):
            definition = draw(random, minutes, change)
            try:
                compare_plan(tally, definition, occurrences(definition, minutes), minutes, random)
            except InvalidScheduleError:
                continue  # `compare` says of others whether that is right
        if how_many < 8 and random.random() > 0.1:
            continue
        seconds = seconds_around(zone, change)
        tally.counts["steps walked"] += len(seconds.steps)
        compare_around(tally, f"{name} seconds", seconds, change, max(1, how_many // 6))


def offsets_every_hour(tally: Tally, zone: str) -> None:
    """The product finds offsets by sampling every 36 hours; here each hour is asked."""
    found = find_zone(zone)
    info, instant = ZoneInfo(zone), FIRST
    period = None
    while instant < LAST:
        second = int(instant.timestamp())
        if period is None or second >= period.end:
            period = found.period(second)
            assert period is not None
        tally.counts["hours of offsets"] += 1
        if instant.astimezone(info).utcoffset() != timedelta(seconds=period.offset):
            tally.counts["mismatches"] += 1
            tally.mismatches.append(f"{zone} at {instant}: offset {period.offset}")
        instant += HOUR


def long_spans(tally: Tally, zone: str, seed: str) -> None:
    """38 years by the hour, 400 days by the minute: counted by the product, walked here, planned in one go."""
    random = Random(f"{seed} {zone}")
    years = walk(zone, FIRST, LAST, HOUR, lead=26 * HOUR)
    for text in HOURLY:
        for dst in DST:
            definition = Definition("cron", text, zone, FIRST, dst)
            expected = occurrences(definition, years)
            job = ScheduleJob(job_id="j", name="j", callback="app:f", **definition.fields())
            ours = job.definition(zone).schedule(FIRST).count(FIRST, years.until)
            tally.counts["long spans"] += 1
            tally.counts["occurrences in long spans"] += len(expected)
            if ours != len(expected):
                tally.mismatch(definition, "count of 38 years", ours, len(expected))
            compare_plan_at(tally, definition, expected, expected[0], years.until, random)
    del years
    after = datetime(2025, 12, 1, tzinfo=UTC)
    days = walk(zone, after, after + timedelta(days=400), MINUTE, lead=26 * HOUR)
    for text in ("* * * * *", "*/7 2-4 * * *", "30 2 * * *", "15,45 1 * * *", "0 0 1 * *"):
        definition = Definition("cron", text, zone, after, random.choice(DST))
        expected = occurrences(definition, days)
        tally.counts["long spans"] += 1
        tally.counts["occurrences in long spans"] += len(expected)
        compare_jitter(tally, expected[:500], 30.0)
        for _ in range(5):
            compare_plan(tally, definition, expected, days, random)
        compare_plan_at(tally, definition, expected, expected[0], days.until, random)


if __name__ == "__main__":
    main()

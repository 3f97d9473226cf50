"""Planning: which occurrences of a job are to fire now, which are only counted, and where the cursor goes.

A job's cursor (`next_run`) is the first occurrence that nobody has accounted for. A plan accounts for every
occurrence from the cursor up to the planning instant, each as a fire or as part of a counted `Missed`, and
names the next cursor. Planning reads the stored cursor and never starts from "now": that is why a handover, a
deploy or an outage on a due instant loses nothing (sidekiq #6758, good_job #1484, yugabyte-db #24365).

An occurrence that one of the job's calendars excludes is accounted for like any other, as `skipped / calendar`:
one row each, or one row for all that lie side by side. Misfire policies see only what the calendars allow.

All functions here are pure. A year of missed one-second ticks is planned by counting, not by walking
(kubernetes #42649), in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from scheduler_core.domain.jobs.job import Misfire
from scheduler_core.domain.planning.plan import (
    CALENDAR,
    NO_CALENDAR,
    Fire,
    Missed,
    Plan,
    StoredJob,
    due_at,
    jitter_offset,
    starts_at,
)
from scheduler_core.domain.planning.segments import TICK, Segment, occurrence_at, segments
from scheduler_core.domain.schedule import Schedule

__all__ = [
    "MAX_COUNTS_PER_PLAN",
    "MAX_FIRES_PER_PLAN",
    "Fire",
    "Missed",
    "Plan",
    "StoredJob",
    "due_at",
    "jitter_offset",
    "occurrences",
    "plan",
    "settlement",
    "with_cursor",
]

MAX_FIRES_PER_PLAN = 1_000
"""More wait for the next plan: the cursor stops in between, and nothing is lost."""

MAX_COUNTS_PER_PLAN = 100
"""Rows that count. A year of weekends takes two plans."""

COUNT_TOGETHER = timedelta(minutes=1)
"""What the calendars exclude within this is looked at once and counted in one row: a weekend of one-second ticks is
neither 172,800 rows nor 172,800 awakenings."""

LOOK_FOR_CALENDAR = timedelta(seconds=10)
"""How often a job whose calendar is missing is looked at again; adding the calendar has it looked at at once."""


def plan(job: StoredJob, now: datetime, ahead: timedelta = timedelta(0)) -> Plan:
    """Account for every occurrence of `job` that is due by `now + ahead`.

    Parameters: now, the database's clock; ahead, how far before its instant an occurrence may be claimed.
    Returns a plan whose fires are in order; at most `MAX_FIRES_PER_PLAN` of them, and the cursor stops after
    the last one, so that planning again goes on from there.
    """
    cursor = job.next_run
    missed: list[Missed] = []
    if cursor is not None and job.paused_at is not None:
        until = min(now, job.paused_until or now)
        cursor, paused = _count_out(job.schedule, cursor, until, "paused")
        missed.extend(paused)
        if job.is_paused(now):
            return Plan(job, (), tuple(missed), cursor, job.paused_until)

    if cursor is not None and job.missing_calendars:
        # Nobody knows whether it may fire. A fire can't be undone and a skip can't be made up for; a job that waits
        # can still do either once somebody has put the calendar right, by its misfire policy.
        waits_until = max(now + LOOK_FOR_CALENDAR, due_at(job.definition, job.schedule, cursor) or cursor)
        return Plan(job, (), tuple(missed), cursor, waits_until)

    horizon = now + ahead
    fires: list[Fire] = []
    definition, exclusions = job.definition, job.exclusions
    if cursor is not None and cursor < now:
        grace = timedelta(seconds=definition.misfire_grace + definition.jitter)
        if cursor < now - grace:
            cursor = _drop_misfires(job, cursor, now - grace, horizon, missed)
    while cursor is not None and len(fires) < MAX_FIRES_PER_PLAN and len(missed) < MAX_COUNTS_PER_PLAN:
        if cursor <= horizon and exclusions.excludes(cursor):
            excluded = next(segments(job.schedule, exclusions, cursor, horizon + TICK))
            _skip(job.schedule, excluded, missed)
            cursor = job.schedule.next_after(excluded.last)
            continue
        start = starts_at(definition, job.schedule, cursor)
        if start > horizon:
            break
        fires.append(Fire(cursor, start))
        cursor = job.schedule.next_after(cursor)
    return _finish_plan(job, tuple(fires), missed, cursor)


def settlement(job: StoredJob, now: datetime, reason: str | None) -> Plan:
    """Account for the old definition's occurrences up to `now`, before an operator changes the job.

    Parameters: reason, why they do not execute (`paused`, `disabled`, `removed`), or None when they still
    are to fire by their misfire policy (an edit does not swallow a tick that was due a moment ago).
    """
    if job.next_run is None:
        return _finish_plan(job, (), [], None)
    if reason is not None:
        cursor, missed = _count_out(job.schedule, job.next_run, now + TICK, reason)
        return _finish_plan(job, (), list(missed), cursor)
    fires: list[Fire] = []
    counted: list[Missed] = []
    moving: datetime | None = job.next_run
    while moving is not None and len(fires) < MAX_FIRES_PER_PLAN:
        step = plan(replace(job, next_run=moving), now)
        fires += step.fires
        counted += step.missed
        if step.next_run == moving:
            break
        moving = step.next_run
    # What is due and not started yet, by its jitter, starts when it would have.
    while moving is not None and moving <= now and not job.missing_calendars and len(fires) < MAX_FIRES_PER_PLAN:
        if job.exclusions.excludes(moving):
            moving = _count_left(job, moving, now, counted)
            continue
        fires.append(Fire(moving, starts_at(job.definition, job.schedule, moving)))
        moving = job.schedule.next_after(moving)
    # An edit can't wait for more than that: what is left is counted.
    while moving is not None and moving <= now:
        moving = _count_left(job, moving, now, counted)
    return _finish_plan(job, tuple(fires), counted, moving)


def with_cursor(plan: Plan, job: StoredJob, cursor: datetime | None) -> Plan:
    """The plan, ending on the cursor of the job as it will be: where the leader looks at it next, and when."""
    if not job.definition.enabled:
        return replace(plan, next_run=None, next_due_at=None)
    if job.auto_disabled_at is not None:
        return replace(plan, next_run=cursor, next_due_at=None)
    if job.paused_at is not None:
        return replace(plan, next_run=cursor, next_due_at=job.paused_until)
    return replace(plan, next_run=cursor, next_due_at=due_at(job.definition, job.schedule, cursor))


def _finish_plan(job: StoredJob, fires: tuple[Fire, ...], missed: list[Missed], cursor: datetime | None) -> Plan:
    return Plan(job, fires, tuple(missed), cursor, _look_at(job, cursor))


def _look_at(job: StoredJob, cursor: datetime | None) -> datetime | None:
    """When the cursor is looked at next: at its start, or with others of a minute if none of them may start."""
    if cursor is None or not job.calendars or not job.exclusions.excludes(cursor):
        return due_at(job.definition, job.schedule, cursor)
    edge = job.exclusions.edge_after(cursor, cursor + COUNT_TOGETHER)
    return max(job.schedule.last_until(edge - TICK) or cursor, cursor)


def _counted(segment: Segment, reason: str) -> Missed:
    return Missed(segment.count, segment.first, segment.last, reason)


def _skip(schedule: Schedule, segment: Segment, missed: list[Missed]) -> None:
    """Count what the calendars exclude, in one row with what they excluded just before."""
    if missed and missed[-1].reason == CALENDAR and schedule.next_after(missed[-1].last) == segment.first:
        before = missed.pop()
        segment = Segment(before.count + segment.count, before.first, segment.last, True)
    missed.append(_counted(segment, CALENDAR))


def _count_out(
    schedule: Schedule, cursor: datetime, before: datetime, reason: str
) -> tuple[datetime | None, tuple[Missed, ...]]:
    """Count the occurrences from the cursor up to, not including, `before`; return the cursor behind them."""
    if cursor >= before:
        return cursor, ()
    until = before - TICK
    # The cursor itself counts, also where somebody moved it by hand to an instant off the schedule.
    count = 1 + schedule.count(cursor, until)
    last = max(schedule.last_until(until) or cursor, cursor)
    return schedule.next_after(last), (Missed(count, cursor, last, reason),)


def _count_left(job: StoredJob, cursor: datetime, now: datetime, counted: list[Missed]) -> datetime | None:
    """Count what an edit leaves no time to fire; return the cursor behind it."""
    if job.missing_calendars:
        cursor_behind, missed = _count_out(job.schedule, cursor, now + TICK, NO_CALENDAR)
        counted += missed
        return cursor_behind
    segment = next(segments(job.schedule, job.exclusions, cursor, now + TICK))
    counted.append(_counted(segment, CALENDAR if segment.excluded else "misfire"))
    return job.schedule.next_after(segment.last)


def _drop_misfires(
    job: StoredJob, cursor: datetime, grace_starts: datetime, horizon: datetime, missed: list[Missed]
) -> datetime | None:
    """Let the misfire policy decide about what is planned more than the grace late.

    Adds to `missed` what it drops and what the calendars exclude before that; returns the cursor behind it. Stops
    at `MAX_COUNTS_PER_PLAN`.
    """
    exclusions = job.exclusions
    late = sum(s.count for s in segments(job.schedule, exclusions, cursor, grace_starts) if not s.excluded)
    drop = late - min(late, _kept_misfires(job, grace_starts, horizon))
    behind: datetime | None = cursor
    for segment in segments(job.schedule, exclusions, cursor, grace_starts):
        if len(missed) >= MAX_COUNTS_PER_PLAN:
            return segment.first
        if not segment.excluded and drop < segment.count:
            if drop == 0:
                return segment.first
            first_kept = occurrence_at(job.schedule, segment.first, drop, segment.last)
            behind, dropped = _count_out(job.schedule, segment.first, first_kept, "misfire")
            missed += dropped
            return behind
        if segment.excluded:
            _skip(job.schedule, segment, missed)
        else:
            missed.append(_counted(segment, "misfire"))
            drop -= segment.count
        behind = job.schedule.next_after(segment.last)
    return behind


def _kept_misfires(job: StoredJob, grace_starts: datetime, horizon: datetime) -> int:
    match job.definition.misfire:
        case Misfire.SKIP:
            return 0
        case Misfire.ALL:
            return job.definition.catch_up_limit
        case _:
            # "latest" runs the latest due occurrence; one within the grace is later than any misfire.
            newer = job.schedule.next_after(grace_starts - TICK)
            if newer is None:
                return 1
            within = segments(job.schedule, job.exclusions, newer, horizon + TICK)
            return 0 if any(not segment.excluded for segment in within) else 1


def occurrences(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """Walk the occurrences in (after, until]. For previews; planning counts instead."""
    instant = schedule.next_after(after)
    while instant is not None and instant <= until:
        yield instant
        instant = schedule.next_after(instant)

"""Planning: which occurrences of a job are to fire now, which are only counted, and where the cursor goes.

A job's cursor (`next_run`) is the first occurrence that nobody has accounted for. A plan accounts for every
occurrence from the cursor up to the planning instant, each as a fire or as part of a counted `Missed`, and
names the next cursor. Planning reads the stored cursor and never starts from "now": that is why a handover, a
deploy or an outage on a due instant loses nothing (FIELD: sidekiq #6758, good_job #1484, yugabyte-db #24365).

All functions here are pure. A year of missed one-second ticks is planned by counting, not by walking
(FIELD: kubernetes #42649).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from scheduler_core.domain.job import JobDefinition, Misfire
from scheduler_core.domain.schedule import Schedule

MAX_FIRES_PER_PLAN = 1_000
"""More wait for the next plan: the cursor stops in between, and nothing is lost."""

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as the database holds it: code's definition beside the cursor and the operator's state."""

    definition: JobDefinition
    version: int
    anchor: datetime
    schedule: Schedule
    next_run: datetime | None
    due_at: datetime | None = None
    paused_at: datetime | None = None
    paused_until: datetime | None = None
    auto_disabled_at: datetime | None = None
    finished_at: datetime | None = None
    digest: str = ""
    """Of the definition as it was declared; differs from code's when somebody else declared another."""
    declared_since: datetime | None = None
    """When the process that declared it started: a newer process wins."""

    @property
    def job_id(self) -> str:
        return self.definition.job_id

    def is_paused(self, now: datetime) -> bool:
        return self.paused_at is not None and (self.paused_until is None or now < self.paused_until)


@dataclass(frozen=True, slots=True)
class Fire:
    """One occurrence that is to be executed, and the instant at which (later than its own by the jitter)."""

    scheduled_for: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Missed:
    """Occurrences that are counted and not executed: one run row stands for all of them."""

    count: int
    first: datetime
    last: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one planning of one job decided; `storage` makes it true in one statement or not at all."""

    job: StoredJob
    fires: tuple[Fire, ...]
    missed: tuple[Missed, ...]
    next_run: datetime | None
    next_due_at: datetime | None


def jitter_offset(job_id: str, scheduled_for: datetime, jitter_seconds: float) -> timedelta:
    """How much later than `scheduled_for` an occurrence starts: 0 to `jitter_seconds`.

    A hash of job and instant, not a random number: a successor computes the same.
    """
    if jitter_seconds <= 0:
        return timedelta(0)
    key = f"{job_id}@{scheduled_for.astimezone(UTC).isoformat()}".encode()
    fraction = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
    return timedelta(seconds=fraction * jitter_seconds)


def due_at(definition: JobDefinition, scheduled_for: datetime | None) -> datetime | None:
    """The instant at which an occurrence is to start; None for none."""
    if scheduled_for is None:
        return None
    return scheduled_for + jitter_offset(definition.job_id, scheduled_for, definition.jitter)


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

    horizon = now + ahead
    fires: list[Fire] = []
    if cursor is not None:
        grace = timedelta(seconds=job.definition.misfire_grace + job.definition.jitter)
        cursor, late = _drop_misfires(job, cursor, now - grace, horizon)
        missed.extend(late)
    while cursor is not None and len(fires) < MAX_FIRES_PER_PLAN:
        fire = Fire(cursor, cursor + jitter_offset(job.job_id, cursor, job.definition.jitter))
        if fire.due_at > horizon:
            break
        fires.append(fire)
        cursor = job.schedule.next_after(cursor)
    return _finish_plan(job, tuple(fires), missed, cursor)


def settlement(job: StoredJob, now: datetime, reason: str | None) -> Plan:
    """Account for the old definition's occurrences up to `now`, before an operator changes the job.

    Parameters: reason, why they do not execute (`paused`, `disabled`, `removed`), or None when they still
    are to fire by their misfire policy (an edit does not swallow a tick that was due a moment ago).
    """
    if reason is None:
        settled = plan(job, now)
        # An edit can't wait for a second plan: what is beyond one plan's fires is counted.
        cursor, rest = (
            (settled.next_run, ())
            if settled.next_run is None
            else _count_out(job.schedule, settled.next_run, now + _TICK, "misfire")
        )
        return _finish_plan(job, settled.fires, [*settled.missed, *rest], cursor)
    if job.next_run is None:
        return _finish_plan(job, (), [], None)
    cursor, missed = _count_out(job.schedule, job.next_run, now + _TICK, reason)
    return _finish_plan(job, (), list(missed), cursor)


def with_cursor(plan: Plan, job: StoredJob, cursor: datetime | None) -> Plan:
    """The plan, ending on the cursor of the job as it will be: where the leader looks at it next, and when."""
    if not job.definition.enabled:
        return replace(plan, next_run=None, next_due_at=None)
    if job.auto_disabled_at is not None:
        return replace(plan, next_run=cursor, next_due_at=None)
    if job.paused_at is not None:
        return replace(plan, next_run=cursor, next_due_at=job.paused_until)
    return replace(plan, next_run=cursor, next_due_at=due_at(job.definition, cursor))


def _finish_plan(job: StoredJob, fires: tuple[Fire, ...], missed: list[Missed], cursor: datetime | None) -> Plan:
    return Plan(job, fires, tuple(missed), cursor, due_at(job.definition, cursor))


def _count_out(
    schedule: Schedule, cursor: datetime, before: datetime, reason: str
) -> tuple[datetime | None, tuple[Missed, ...]]:
    """Count the occurrences from the cursor up to, not including, `before`; return the cursor behind them."""
    if cursor >= before:
        return cursor, ()
    until = before - _TICK
    # The cursor itself counts, also where somebody moved it by hand to an instant off the schedule.
    count = 1 + schedule.count(cursor, until)
    last = max(schedule.last_until(until) or cursor, cursor)
    return schedule.next_after(last), (Missed(count, cursor, last, reason),)


def _drop_misfires(
    job: StoredJob, cursor: datetime, grace_starts: datetime, horizon: datetime
) -> tuple[datetime | None, tuple[Missed, ...]]:
    """Let the misfire policy decide about what is planned more than the grace late."""
    if cursor >= grace_starts:
        return cursor, ()
    late = 1 + job.schedule.count(cursor, grace_starts - _TICK)
    keep = _kept_misfires(job, late, grace_starts, horizon)
    if keep >= late:
        return cursor, ()
    if keep == 0:
        return _count_out(job.schedule, cursor, grace_starts, "misfire")
    first_kept = _occurrence(job.schedule, cursor, late - keep, grace_starts)
    return _count_out(job.schedule, cursor, first_kept, "misfire")


def _kept_misfires(job: StoredJob, late: int, grace_starts: datetime, horizon: datetime) -> int:
    match job.definition.misfire:
        case Misfire.SKIP:
            return 0
        case Misfire.ALL:
            return min(late, job.definition.catch_up_limit)
        case _:
            # "latest" runs the latest due occurrence; one within the grace is later than any misfire.
            newer = job.schedule.next_after(grace_starts - _TICK)
            return 0 if newer is not None and newer <= horizon else 1


def _occurrence(schedule: Schedule, cursor: datetime, index: int, before: datetime) -> datetime:
    """The `index`-th occurrence after the cursor, found by bisection over counts in constant memory."""
    if index == 0:
        return cursor
    low, high = cursor, before - _TICK
    while high - low > _TICK:
        middle = low + (high - low) // 2
        if schedule.count(cursor, middle) >= index:
            high = middle
        else:
            low = middle
    return high


def occurrences(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """Walk the occurrences in (after, until]. For previews; planning counts instead."""
    instant = schedule.next_after(after)
    while instant is not None and instant <= until:
        yield instant
        instant = schedule.next_after(instant)

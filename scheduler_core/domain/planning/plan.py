"""The values that planning works on: a job as it is stored, fires, counts, and the plan that they make up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler_core.domain.calendars.calendars import Calendar, Exclusions
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.runs.run import RunStatus
from scheduler_core.domain.schedule import Schedule
from scheduler_core.domain.schedule.base import from_micros
from scheduler_core.domain.schedule.zone import find_zone
from scheduler_core.domain.value import value

CALENDAR = "calendar"
NO_CALENDAR = "no_calendar"
"""Reasons of skipped runs: a calendar excludes the occurrence; or a calendar is missing, and nobody can tell."""

NO_EXCLUSIONS = Exclusions((), find_zone("UTC"))


@value(frozen=True, slots=True)
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
    set_aside: str | None = None
    """Digest of the definition of code that an operator's revert replaced: code that declares it again says nothing
    new."""
    application: str | None = None
    """Whose code named the callback; None where no code did."""
    added_at_run_time: bool | None = None
    """Whether code added it that was running already: no start declares it anew."""
    calendars: tuple[Calendar, ...] = ()
    """Those that the definition names, as far as they exist and can be read."""

    @property
    def job_id(self) -> str:
        return self.definition.job_id

    @property
    def missing_calendars(self) -> tuple[str, ...]:
        """Names in the definition that no calendar answers to."""
        if not self.definition.calendars:
            return ()
        found = {calendar.name for calendar in self.calendars}
        return tuple(name for name in self.definition.calendars if name not in found)

    @property
    def exclusions(self) -> Exclusions:
        """What its calendars exclude, in its time zone."""
        return Exclusions(self.calendars, find_zone(self.definition.timezone)) if self.calendars else NO_EXCLUSIONS

    def at(self, next_run: datetime) -> StoredJob:
        """The same job with its cursor there."""
        if self.next_run == next_run:
            return self
        # Field by field: `replace` takes longer than all the rest of a plan.
        return StoredJob(
            self.definition,
            self.version,
            self.anchor,
            self.schedule,
            next_run,
            self.due_at,
            self.paused_at,
            self.paused_until,
            self.auto_disabled_at,
            self.finished_at,
            self.digest,
            self.declared_since,
            self.set_aside,
            self.application,
            self.added_at_run_time,
            self.calendars,
        )

    def is_paused(self, now: datetime) -> bool:
        return self.paused_at is not None and (self.paused_until is None or now < self.paused_until)


@value(frozen=True, slots=True)
class Fire:
    """One occurrence that is to be executed, and the instant at which (later than its own by the jitter)."""

    scheduled_for: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Missed:
    """Consecutive occurrences that are counted and not executed: one run row stands for all of them."""

    count: int
    first: datetime
    last: datetime
    reason: str

    @property
    def status(self) -> RunStatus:
        """`skipped` for what a calendar excluded, which was meant; `missed` for the rest."""
        return RunStatus.SKIPPED if self.reason in (CALENDAR, NO_CALENDAR) else RunStatus.MISSED

    @property
    def stands_for_one(self) -> bool:
        """Whether the row is that of one occurrence and no count: a single skipped one."""
        return self.count == 1 and self.status is RunStatus.SKIPPED


@value(frozen=True, slots=True)
class Plan:
    """What one planning of one job decided; `storage` makes it true in one statement or not at all."""

    job: StoredJob
    fires: tuple[Fire, ...]
    missed: tuple[Missed, ...]
    next_run: datetime | None
    next_due_at: datetime | None


def jitter_offset(job_id: str, scheduled_for: datetime, jitter_seconds: float) -> timedelta:
    """How much later than `scheduled_for` an occurrence starts, where nothing is in its way: 0 to `jitter_seconds`.

    A hash of job and instant, not a random number: a successor computes the same.
    """
    if jitter_seconds <= 0:
        return timedelta(0)
    key = f"{job_id}@{scheduled_for.astimezone(UTC).isoformat()}".encode()
    fraction = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
    return timedelta(seconds=fraction * jitter_seconds)


def starts_at(definition: JobDefinition, schedule: Schedule, scheduled_for: datetime) -> datetime:
    """The instant at which an occurrence is to start: later than its own by the jitter.

    Never at or after the next occurrence, nor after `end_at`: where there is less room than the jitter, as between two
    times that a change of the clocks brings together, the start is spread over what room there is.
    """
    if definition.jitter <= 0:
        return scheduled_for
    until = schedule.next_after(scheduled_for) or from_micros(schedule.end)
    room_seconds = min(definition.jitter, (until - scheduled_for).total_seconds())
    return scheduled_for + jitter_offset(definition.job_id, scheduled_for, room_seconds)


def due_at(definition: JobDefinition, schedule: Schedule, scheduled_for: datetime | None) -> datetime | None:
    """`starts_at`; None where there is no occurrence."""
    return None if scheduled_for is None else starts_at(definition, schedule, scheduled_for)

"""What is simulated: jobs, and workloads, which are the jobs that are due at the same instants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler_core.domain.calendars.calendars import Exclusions
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.planning.plan import StoredJob, starts_at
from scheduler_core.domain.planning.segments import TICK, allowed_occurrences, segments
from scheduler_core.domain.schedule import ScheduleType


@dataclass(frozen=True, slots=True)
class SimulatedJob:
    """A job as the simulation sees it."""

    stored: StoredJob
    duration_seconds: float | None = None
    """How long a run takes; None for not known."""

    @property
    def job_id(self) -> str:
        return self.stored.job_id

    @property
    def definition(self) -> JobDefinition:
        return self.stored.definition

    @property
    def silent_because(self) -> str | None:
        """Why the job fires at no time, whatever its schedule says; None if it does fire."""
        stored = self.stored
        if not stored.definition.enabled:
            return "disabled"
        if stored.auto_disabled_at is not None:
            return "disabled after failures"
        if stored.paused_at is not None and stored.paused_until is None:
            return "paused"
        if stored.finished_at is not None:
            return "finished"
        if stored.missing_calendars:
            return f"waits for the calendar {', '.join(stored.missing_calendars)}"
        return None


def declared(definition: JobDefinition, anchor: datetime) -> StoredJob:
    """A job that nobody has stored yet, as first stored at `anchor`."""
    return StoredJob(definition, 1, anchor, definition.schedule(anchor), next_run=None)


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs with one schedule: counted once, whatever their number. Spans include their begin and not their end."""

    jobs: tuple[SimulatedJob, ...]
    exclusions: Exclusions

    @property
    def job(self) -> SimulatedJob:
        """One of them, as good as any."""
        return self.jobs[0]

    @property
    def weight(self) -> int:
        return len(self.jobs)

    @property
    def jitter_seconds(self) -> float:
        return self.job.definition.jitter

    def count(self, since: datetime, until: datetime) -> int:
        """How often each of the jobs is due in the span."""
        schedule = self.job.stored.schedule
        if not self.exclusions.calendars:
            return schedule.count(since - TICK, until - TICK)
        first = schedule.next_after(since - TICK)
        if first is None or first >= until:
            return 0
        return sum(s.count for s in segments(schedule, self.exclusions, first, until) if not s.excluded)

    def walk(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """The instants at which they are due."""
        schedule = self.job.stored.schedule
        first = schedule.next_after(since - TICK)
        for instant, _ in allowed_occurrences(schedule, self.exclusions, first, until - TICK):
            yield instant

    def starts(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """The instants at which what is due in the span starts: later by the jitter."""
        for instant in self.walk(since, until):
            yield starts_at(self.job.definition, self.job.stored.schedule, instant)


def workloads(jobs: Iterable[SimulatedJob]) -> list[Workload]:
    """Group the jobs that fire by their schedules, in the order of their first one."""
    groups: dict[object, list[SimulatedJob]] = {}
    for job in jobs:
        if job.silent_because is None:
            groups.setdefault(_identity(job), []).append(job)
    return [Workload(tuple(group), group[0].stored.exclusions) for group in groups.values()]


def _identity(job: SimulatedJob) -> object:
    definition = job.definition
    # These two count from the instant at which the job was first stored, unless they say from which.
    counts_from_anchor = (definition.schedule_type is ScheduleType.INTERVAL and definition.start_at is None) or (
        definition.schedule_type is ScheduleType.ONCE and definition.schedule_value is None
    )
    return (
        definition.schedule_digest,
        job.stored.anchor if counts_from_anchor else None,
        # The jitter is a job's own.
        job.job_id if definition.jitter > 0 else None,
    )


def silent(jobs: Sequence[SimulatedJob], busy: Sequence[Workload], since: datetime, until: datetime) -> dict[str, str]:
    """The jobs that don't fire in the span, by job_id, each with the reason."""
    found = {job.job_id: job.silent_because for job in jobs if job.silent_because is not None}
    for workload in busy:
        if workload.count(since, until) == 0:
            found |= {job.job_id: "not due in this span" for job in workload.jobs}
    return dict(sorted(found.items()))

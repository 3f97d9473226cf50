"""Overlaps: what becomes of occurrences that are due while the job's previous run still executes.

Played through with the duration that each job is known to take; work that ends at an instant is out of the way of
what is due then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler_core.domain.jobs.policies import Overlap
from scheduler_core.domain.runs.overlap import MAX_QUEUED_PER_JOB
from scheduler_core.simulation.span import Span
from scheduler_core.simulation.workload import SimulatedJob, Workload

MOST_STEPS = 20_000
STEPS_IN_ALL = 150_000
"""Runs that are played at most, for one job and for all; what comes after repeats what was, as a rule."""


@dataclass(frozen=True, slots=True)
class Clash:
    """What overlap does to one job."""

    job: SimulatedJob
    runs: int
    """That execute."""
    skipped: int
    """Occurrences that don't, because one ran (or too many waited)."""
    queued: int
    """Runs that wait for their turn."""
    longest_wait_seconds: float
    peak: int
    """Runs of the job that execute at once, at most."""
    first_at: datetime
    """The first occurrence that met a run."""
    played_until: datetime

    @property
    def overlap(self) -> Overlap:
        return self.job.definition.overlap


@dataclass(slots=True)
class _Tally:
    runs: int = 0
    skipped: int = 0
    queued: int = 0
    longest_wait: timedelta = timedelta(0)
    peak: int = 1
    first_at: datetime | None = None


def find_clashes(busy: Sequence[Workload], span: Span) -> tuple[Clash, ...]:
    """Play the jobs whose durations are known; those without an overlap are left out."""
    alike: dict[tuple[int, float, Overlap], list[SimulatedJob]] = {}
    for number, workload in enumerate(busy):
        for job in workload.jobs:
            if job.duration_seconds:
                alike.setdefault((number, job.duration_seconds, job.definition.overlap), []).append(job)
    most_steps = min(MOST_STEPS, STEPS_IN_ALL // max(1, len(alike)))
    clashes: list[Clash] = []
    for (number, seconds, overlap), jobs in alike.items():
        tally, until = _play(busy[number], timedelta(seconds=seconds), overlap, span, most_steps)
        if tally.first_at is not None:
            longest_wait_seconds = tally.longest_wait.total_seconds()
            counts = (tally.runs, tally.skipped, tally.queued, longest_wait_seconds, tally.peak, tally.first_at, until)
            clashes += (Clash(job, *counts) for job in jobs)
    return tuple(sorted(clashes, key=lambda clash: (-clash.skipped - clash.queued, clash.job.job_id)))


def _play(
    workload: Workload, duration: timedelta, overlap: Overlap, span: Span, most_steps: int
) -> tuple[_Tally, datetime]:
    """Play one job; returns what happened, and until when it was played."""
    tally = _Tally()
    play = {Overlap.SKIP: _skip, Overlap.QUEUE: _queue, Overlap.ALLOW: _allow}[overlap]
    for steps, instant in enumerate(play(workload, duration, span, tally)):
        if steps >= most_steps:
            return tally, instant
    return tally, span.until


def _skip(workload: Workload, duration: timedelta, span: Span, tally: _Tally) -> Iterator[datetime]:
    """From run to run: what lies between a start and its end is counted."""
    instant = next(workload.walk(span.since, span.until), None)
    while instant is not None:
        end = min(instant + duration, span.until)
        tally.runs += 1
        # The run's own occurrence is the first of those in its time.
        passed = workload.count(instant, end) - 1
        if passed > 0:
            tally.skipped += passed
            tally.first_at = tally.first_at or next(workload.walk(instant + timedelta.resolution, end), None)
        yield instant
        following = max(end, instant + timedelta.resolution)
        instant = next(workload.walk(following, span.until), None)


def _queue(workload: Workload, duration: timedelta, span: Span, tally: _Tally) -> Iterator[datetime]:
    free_at = span.since
    for instant in workload.walk(span.since, span.until):
        wait = max(free_at - instant, timedelta(0))
        if wait / duration > MAX_QUEUED_PER_JOB:
            tally.skipped += 1
        else:
            tally.runs += 1
            tally.queued += wait > timedelta(0)
            tally.longest_wait = max(tally.longest_wait, wait)
            free_at = max(free_at, instant) + duration
        if wait:
            tally.first_at = tally.first_at or instant
        yield instant


def _allow(workload: Workload, duration: timedelta, span: Span, tally: _Tally) -> Iterator[datetime]:
    ends: deque[datetime] = deque()
    for instant in workload.walk(span.since, span.until):
        while ends and ends[0] <= instant:
            ends.popleft()
        if ends:
            tally.first_at = tally.first_at or instant
        ends.append(instant + duration)
        tally.runs += 1
        tally.peak = max(tally.peak, len(ends))
        yield instant

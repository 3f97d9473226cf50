"""What would help: jitter or other beginnings where many jobs start at once, room where runs overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from scheduler_core.domain.jobs.policies import Overlap
from scheduler_core.domain.planning.plan import jitter_offset
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.simulation.overlaps import Clash
from scheduler_core.simulation.span import Span
from scheduler_core.simulation.stampedes import Stampede
from scheduler_core.simulation.workload import SimulatedJob, Workload

LEAST_JOBS = 5
"""Fewer at once are nobody's trouble."""

JITTERS = (5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds; numbers that people choose."""

SHARE_OF_GAP = 4
"""A jitter is at most this part of the time between two fires."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to change, in words, with the fields to set."""

    text: str
    jobs: tuple[SimulatedJob, ...]
    fields: dict[str, object]


def advise(
    stampedes: Sequence[Stampede], busy: Sequence[Workload], clashes: Sequence[Clash], span: Span
) -> tuple[Advice, ...]:
    """Advice about the greatest stampedes and about jobs that have no time for themselves."""
    return (*_on_stampedes(stampedes, busy, span), *_on_intervals(busy), *_on_clashes(clashes, span))


def _on_stampedes(stampedes: Sequence[Stampede], busy: Sequence[Workload], span: Span) -> Iterator[Advice]:
    counts = {job.job_id: workload.count(span.since, span.until) for workload in busy for job in workload.jobs}
    advised: set[str] = set()
    # Those that come back first: what meets once, as after a change of the clocks, is of less concern.
    for stampede in sorted(stampedes, key=lambda stampede: -stampede.count * stampede.days):
        jobs = [
            job
            for job in stampede.jobs
            if job.definition.jitter == 0
            and job.definition.schedule_type is not ScheduleType.INTERVAL
            and job.job_id not in advised
        ]
        if len(jobs) < LEAST_JOBS:
            continue
        chosen = _choose({job: span.seconds / counts[job.job_id] for job in jobs})
        if chosen is None:
            continue
        jitter, jobs = chosen
        seconds = Counter(jitter_offset(job.job_id, stampede.instant, jitter) // timedelta(seconds=1) for job in jobs)
        advised |= {job.job_id for job in jobs}
        yield Advice(
            f"{len(jobs)} jobs start at {span.local(stampede.instant):%H:%M:%S}: with jitter={jitter} the fullest "
            f"second has {max(seconds.values())} of them",
            tuple(jobs),
            {"jitter": jitter},
        )


def _choose(gaps: Mapping[SimulatedJob, float]) -> tuple[int, list[SimulatedJob]] | None:
    """The jitter that spreads the jobs far enough, and the jobs that have room for it. `gaps` are in seconds."""
    chosen = None
    for jitter in JITTERS:
        fitting = [job for job, gap in gaps.items() if jitter <= gap / SHARE_OF_GAP]
        if len(fitting) < LEAST_JOBS:
            break
        chosen = jitter, fitting
        if jitter >= 2 * len(fitting):
            break
    return chosen


def _on_intervals(busy: Sequence[Workload]) -> Iterator[Advice]:
    for workload in busy:
        definition = workload.job.definition
        if definition.schedule_type is not ScheduleType.INTERVAL or workload.weight < LEAST_JOBS:
            continue
        step = float(definition.schedule_value)
        apart = step / workload.weight
        yield Advice(
            f"{workload.weight} jobs run every {step:g} s in step: give each its own start_at, {apart:.3g} s apart",
            workload.jobs,
            {"start_at_apart_seconds": apart},
        )


def _on_clashes(clashes: Sequence[Clash], span: Span) -> Iterator[Advice]:
    for overlap, ending in ((Overlap.SKIP, "keep skipping"), (Overlap.QUEUE, "queue without end")):
        needs = {clash.job: _need(clash, span) for clash in clashes if clash.overlap is overlap}
        worst = sorted((job for job in needs if needs[job] > 1), key=lambda job: (-needs[job], job.job_id))
        if worst:
            named = ", ".join(f"{job.job_id} {needs[job]:.0%}" for job in worst[:3]) + (", …" if worst[3:] else "")
            yield Advice(
                f"{len(worst)} jobs take longer than the time they have and {ending}: fire them less often ({named})",
                tuple(worst),
                {},
            )


def _need(clash: Clash, span: Span) -> float:
    """The share of its time that a job would execute if every occurrence ran."""
    played = (clash.played_until - span.since).total_seconds()
    return (clash.runs + clash.skipped) * (clash.job.duration_seconds or 0.0) / max(played, 1.0)

"""One simulation: from jobs and a span to everything there is to say about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler_core.simulation.advice import Advice, advise
from scheduler_core.simulation.clock_changes import ClockChange, find_clock_changes
from scheduler_core.simulation.gaps import Gap, find_gaps
from scheduler_core.simulation.load import Load, count_load
from scheduler_core.simulation.overlaps import Clash, find_clashes
from scheduler_core.simulation.span import Span
from scheduler_core.simulation.stampedes import Stampedes, find_stampedes
from scheduler_core.simulation.workload import SimulatedJob, silent, workloads

TOP_STAMPEDES = 10
TOP_GAPS = 5


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the schedules do in the span."""

    span: Span
    jobs: int
    load: Load
    stampedes: Stampedes
    clashes: tuple[Clash, ...]
    known_durations: int
    """Jobs of which it is known how long they take."""
    clock_changes: tuple[ClockChange, ...]
    gaps: tuple[Gap, ...]
    silent: Mapping[str, str]
    """Jobs that don't fire in the span, each with the reason."""
    advice: tuple[Advice, ...]


def simulate(jobs: Sequence[SimulatedJob], span: Span) -> Simulation:
    """Look at what these jobs' schedules do in the span. Pure; memory does not grow with the number of fires."""
    busy = workloads(jobs)
    load = count_load(busy, span)
    stampedes = find_stampedes(busy, span, TOP_STAMPEDES)
    clashes = find_clashes(busy, span)
    return Simulation(
        span=span,
        jobs=len(jobs),
        load=load,
        stampedes=stampedes,
        clashes=clashes,
        known_durations=sum(1 for job in jobs if job.duration_seconds is not None),
        clock_changes=find_clock_changes(busy, span),
        gaps=find_gaps(busy, load, TOP_GAPS),
        silent=silent(jobs, busy, span.since, span.until),
        advice=advise(stampedes.top, busy, clashes, span),
    )

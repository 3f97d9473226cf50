"""How long nobody fired, by fault; how late fires were; the longest silence. Pure.

Percentiles are nearest-rank: the smallest measured value that at least so many percent of all do not exceed. Always a
value that was measured, never one in between; with n below 100 the p99 is the maximum.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import ceil

from scheduler_core.drill.accounting import micros
from scheduler_core.drill.evidence import Evidence, Moment


@dataclass(frozen=True, slots=True)
class Spread:
    """A sample's figures, in milliseconds; None where the sample is empty."""

    n: int
    p50: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which no callback began."""

    since: datetime
    ms: float


@dataclass(frozen=True, slots=True)
class Takeover:
    """From the fault to the first fire after it, and how late fires were."""

    all: Spread
    """Over all faults that cost the leader its term, of whichever kind. A fault that the leader held out against is in
    `by_fault` only: the next fire of a leader that goes on would flatter the takeovers."""
    by_fault: Mapping[str, Spread]
    """Over the faults of each kind, in the order in which the kinds came first."""
    silences: Mapping[str, Spread]
    """The longest time in which no callback began, from each fault of a kind to the next fault: what a fault costs that
    the leader holds out against, and of which the very next fire says nothing."""
    lateness: Spread
    """Start minus `scheduled_for`, of all runs that started."""
    longest_silence: Silence | None


def takeover(evidence: Evidence) -> Takeover:
    """Compute all of it."""
    by_kind: defaultdict[str, list[float]] = defaultdict(list)
    of_takeovers: list[float] = []
    for fault in evidence.faults:
        sample = by_kind[fault.kind]
        if fault.first_fire_at is None:
            continue
        waited_ms = (micros(fault.first_fire_at) - micros(fault.injected_at)) / 1_000
        sample.append(waited_ms)
        if fault.term_after is not None and fault.term_after > fault.term_before:
            of_takeovers.append(waited_ms)
    lateness = (
        (micros(run.started_at) - micros(run.scheduled_for)) / 1_000
        for run in evidence.runs
        if run.started_at is not None and run.origin == "schedule"
    )
    return Takeover(
        all=spread(of_takeovers),
        by_fault={kind: spread(sample) for kind, sample in by_kind.items()},
        silences={kind: spread(sample) for kind, sample in silences(evidence).items()},
        lateness=spread(lateness),
        longest_silence=longest_silence(evidence),
    )


def spread(sample: Iterable[float]) -> Spread:
    """Size, median, 99th percentile and maximum of a sample."""
    ordered = sorted(sample)
    if not ordered:
        return Spread(0, None, None, None)
    return Spread(len(ordered), percentile(ordered, 50), percentile(ordered, 99), ordered[-1])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of an ascending sample that is not empty."""
    return ordered[max(1, ceil(len(ordered) * percent / 100)) - 1]


def fire_instants(evidence: Evidence) -> list[datetime]:
    """When callbacks began, ascending, within the window."""
    return sorted(
        call.at
        for call in evidence.calls
        if call.moment is Moment.BEGAN and evidence.began_at <= call.at <= evidence.ended_at
    )


def silences(evidence: Evidence) -> dict[str, list[float]]:
    """The longest silence after each fault, in milliseconds, by kind."""
    instants = [micros(instant) for instant in fire_instants(evidence)]
    bounds = [micros(fault.injected_at) for fault in evidence.faults] + [micros(evidence.ended_at)]
    by_kind: dict[str, list[float]] = defaultdict(list)
    for fault, since, until in zip(evidence.faults, bounds, bounds[1:], strict=False):
        within = instants[bisect_left(instants, since) : bisect_right(instants, until)]
        longest = max(after - before for before, after in pairwise([since, *within, max(since, until)]))
        by_kind[fault.kind].append(longest / 1_000)
    return by_kind


def longest_silence(evidence: Evidence) -> Silence | None:
    """The longest time between two neighbouring calls, from begin to end of the drill; None without calls."""
    instants = fire_instants(evidence)
    if not instants:
        return None
    since, until = max(
        pairwise([evidence.began_at, *instants, evidence.ended_at]), key=lambda pair: micros(pair[1]) - micros(pair[0])
    )
    return Silence(since, (micros(until) - micros(since)) / 1_000)

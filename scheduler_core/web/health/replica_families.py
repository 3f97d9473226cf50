"""What one replica counts about itself, as Prometheus wants it: base units, `_total` for what only grows.

No label comes from a job: the number of series does not depend on what is scheduled. Whoever embeds the scheduler may
register `ReplicaCollector(scheduler)` in a registry of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf, isinf
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from scheduler_core.domain.election.health import HealthSnapshot, why_not_ready
from scheduler_core.domain.election.trust import State
from scheduler_core.domain.runs.run import Origin
from scheduler_core.engine.counters import Counters, Histogram
from scheduler_core.engine.election.reasons import LEASE_SILENT, NOBODY_LED, SEATED_AGAIN, WITNESS_FELL
from scheduler_core.engine.scheduler import BaseScheduler

GAUGES: tuple[tuple[str, str, Callable[[HealthSnapshot], float | None]], ...] = (
    ("ready", "1 while this replica takes part, as leader or follower.", lambda v: why_not_ready(v) is None),
    ("leading", "1 while this replica may believe that it leads.", lambda v: v.leads),
    ("leading_term", "The term that this replica leads in; 0 while it leads in none.", lambda v: v.term or 0),
    ("runs_in_hand", "Runs claimed or adopted here whose end is not durable yet.", lambda v: v.runs_in_hand),
    ("runs_executing", "Callbacks that are being called.", lambda v: v.runs_executing),
    ("run_slots", "Callbacks that may be called at once (max_concurrent_runs).", lambda v: v.max_concurrent_runs),
    ("outcomes_queued", "Outcomes that wait to be written to Postgres.", lambda v: v.outcomes_queued),
    ("loop_stalled_seconds", "Time since the scheduler's loop last moved.", lambda v: v.stalled_seconds),
    (
        "clock_skew_seconds",
        "This machine's wall clock minus the database's. Fires follow the database's.",
        lambda v: v.clock_skew_seconds,
    ),
    (
        "clock_jump_seconds",
        "By how much the database's clock is off what this replica can go by; 0 while it goes by it.",
        lambda v: 0.0 if v.clock_jump is None else v.clock_jump.seconds,
    ),
)

COUNTERS: tuple[tuple[str, str, Callable[[Counters], float]], ...] = (
    ("runs_claimed", "Runs that this replica's claims inserted.", lambda c: c.claimed),
    ("runs_adopted", "Runs of other replicas, begun by nobody, that this one took over.", lambda c: c.adopted),
    ("outcomes_late", "Outcomes that came after somebody else had taken the run; kept as late.", lambda c: c.late),
    ("claims_refused", "Claims that Postgres refused because the term had ended.", lambda c: c.refused),
    ("claim_errors", "Claims that failed, most often because Postgres was out of reach.", lambda c: c.claim_errors),
    ("outcome_write_errors", "Batches of outcomes that had to be written again.", lambda c: c.write_errors),
    (
        "loop_blocked_seconds",
        "Time for which something kept the scheduler's loop from moving; fires of those moments were late.",
        lambda c: c.loop_blocked_seconds,
    ),
)

HISTOGRAMS: tuple[tuple[str, str, Callable[[Counters], Histogram]], ...] = (
    ("run_lateness", "Actual start minus the scheduled instant, of scheduled runs.", lambda c: c.lateness),
    ("run_duration", "From the start of a run's first attempt here to its end.", lambda c: c.duration),
    ("claim_duration", "How long Postgres took for a claim.", lambda c: c.claim_seconds),
    ("outcome_write_duration", "How long Postgres took for a batch of outcomes.", lambda c: c.write_seconds),
)

Labels = tuple[str, ...]

# Each starts at 0, so that its first increase is one.
ENDINGS: list[Labels] = [(status, Origin.SCHEDULE.value, "") for status in ("succeeded", "failed")]
ATTEMPT_OUTCOMES: list[Labels] = [("succeeded",), ("failed",), ("timeout",), ("cancelled",), ("lost",)]
UNFIRED: list[Labels] = [("missed", "misfire"), ("skipped", "calendar")]
LEADERSHIPS: list[Labels] = [(WITNESS_FELL,), (LEASE_SILENT,), (NOBODY_LED,), (SEATED_AGAIN,)]


class ReplicaCollector(Collector):
    """The families of one replica.

    Parameters: replica, the scheduler, or what finds it; nothing is shown while it finds None.
    """

    def __init__(self, replica: BaseScheduler | Callable[[], BaseScheduler | None]) -> None:
        self._find: Callable[[], BaseScheduler | None] = (
            (lambda: replica) if isinstance(replica, BaseScheduler) else replica
        )

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry that asks for names at once would have to look at a replica that is not there yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family, from memory."""
        replica = self._find()
        if replica is None:
            return
        snapshot, counters = replica.health_snapshot(), replica.counters
        yield from _of_vitals(snapshot)
        yield from _of_counters(counters)
        for name, help_text, get in HISTOGRAMS:
            yield _histogram(f"scheduler_{name}_seconds", help_text, get(counters))


def _of_vitals(snapshot: HealthSnapshot) -> Iterator[Metric]:
    who = {"instance_id": snapshot.instance_id, "instance_name": snapshot.instance_name, "version": snapshot.version}
    yield InfoMetricFamily("scheduler_replica", "Who this replica is.", who)
    for name, help_text, get in GAUGES:
        value = get(snapshot)
        if value is not None:
            yield GaugeMetricFamily(f"scheduler_{name}", help_text, float(value))
    states = GaugeMetricFamily("scheduler_election_state", "1 for the state that this replica is in.", labels=["state"])
    entered = CounterMetricFamily(
        "scheduler_election_transitions", "Times that this replica entered a state of the election.", labels=["state"]
    )
    for state in State:
        states.add_metric([state.value], float(snapshot.state is state))
        entered.add_metric([state.value], sum(count for (_, to), count in snapshot.transitions.items() if to is state))
    yield states
    yield entered
    yield CounterMetricFamily(
        "scheduler_lease_errors", "Times that Redis gave no answer about the lease.", snapshot.lease_errors
    )


def _of_counters(counters: Counters) -> Iterator[Metric]:
    for name, help_text, get in COUNTERS:
        yield CounterMetricFamily(f"scheduler_{name}", help_text, get(counters))
    yield _counts(
        "scheduler_runs",
        "Runs whose end this replica recorded.",
        ("status", "origin", "reason"),
        _from_zero(ENDINGS, counters.ended),
    )
    yield _counts(
        "scheduler_attempts",
        "Attempts that ended; `lost` ones are those of dead replicas.",
        ("outcome",),
        _from_zero(ATTEMPT_OUTCOMES, _by_tuple(counters.attempts)),
    )
    yield _counts(
        "scheduler_occurrences_unfired",
        "Occurrences that were accounted for without being executed.",
        ("status", "reason"),
        _from_zero(UNFIRED, counters.unfired),
    )
    yield _counts(
        "scheduler_leaderships",
        "Times that this replica sat down to lead.",
        ("reason",),
        _from_zero(LEADERSHIPS, _by_tuple(counters.leaderships)),
    )


def _from_zero(always: Iterable[Labels], counts: Mapping[Any, int]) -> dict[Labels, int]:
    # Copied at once: the scheduler's thread goes on counting.
    return {**dict.fromkeys(always, 0), **counts}


def _by_tuple(counts: Mapping[str, int]) -> dict[Labels, int]:
    return {(label,): count for label, count in dict(counts).items()}


def _counts(name: str, help_text: str, labels: tuple[str, ...], counts: Mapping[Labels, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_text, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family


def _histogram(name: str, help_text: str, histogram: Histogram) -> HistogramMetricFamily:
    counts, total, upto = list(histogram.counts), histogram.total, 0
    buckets: list[Any] = []
    for bound, count in zip((*histogram.bounds, inf), counts, strict=True):
        upto += count
        buckets.append(("+Inf" if isinf(bound) else str(bound), upto))
    return HistogramMetricFamily(name, help_text, buckets, total)

"""How long nobody fired: percentiles that were measured, by fault, and only takeovers among the takeovers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drill_evidence import at, honest

from scheduler_core.drill.evidence import FaultRecord
from scheduler_core.drill.takeover import Spread, percentile, spread, takeover


def fault(kind: str, waited_seconds: float | None, *, number: int = 1, term_after: int | None = 2) -> FaultRecord:
    fired = None if waited_seconds is None else at(1 + waited_seconds)
    return FaultRecord(number, kind, "leader", True, 1, at(1), None, fired, term_after)


@pytest.mark.parametrize(
    ("sample", "p50", "p99"),
    [
        ([7.0], 7.0, 7.0),
        ([1.0, 2.0], 1.0, 2.0),
        ([1.0, 2.0, 3.0], 2.0, 3.0),
        ([float(n) for n in range(1, 301)], 150, 297),
    ],
)
def test_percentiles_are_values_that_were_measured(sample: list[float], p50: float, p99: float) -> None:
    assert (percentile(sample, 50), percentile(sample, 99)) == (p50, p99)


def test_a_sample_needs_no_order_and_may_be_empty() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(3, 2.0, 3.0, 3.0)
    assert spread([]) == Spread(0, None, None, None)


def test_each_kind_has_its_own_figures() -> None:
    faults = (fault("kill", 0.03), fault("kill", 0.05), fault("stop", 3.0))
    found = takeover(replace(honest(()), faults=faults))
    assert found.by_fault == {"kill": Spread(2, 30.0, 50.0, 50.0), "stop": Spread(1, 3000.0, 3000.0, 3000.0)}
    assert found.all == Spread(3, 50.0, 3000.0, 3000.0)


def test_a_leader_that_held_out_does_not_flatter_the_takeovers() -> None:
    faults = (fault("kill", 0.05), fault("redis-flush", 0.001, term_after=1))
    found = takeover(replace(honest(()), faults=faults))
    assert found.all == Spread(1, 50.0, 50.0, 50.0)
    assert found.by_fault["redis-flush"].n == 1


def test_a_fault_after_which_nobody_fired_is_listed_without_a_figure() -> None:
    found = takeover(replace(honest(()), faults=(fault("kill", None, term_after=None),)))
    assert found.by_fault == {"kill": Spread(0, None, None, None)}
    assert found.all.n == 0


def test_the_longest_silence_is_the_takeover_from_a_stopped_leader() -> None:
    silence = takeover(honest(("kill", "stop-10"))).longest_silence
    assert silence is not None
    assert 2_900 < silence.ms < 3_100
    assert silence.since > at(3.9)


def test_silence_counts_from_the_begin_and_to_the_end() -> None:
    evidence = honest(())
    assert takeover(replace(evidence, began_at=at(-9))).longest_silence.ms > 9_000  # type: ignore[union-attr]
    assert takeover(replace(evidence, ended_at=at(99))).longest_silence.ms > 90_000  # type: ignore[union-attr]
    assert takeover(replace(evidence, calls=())).longest_silence is None


def test_lateness_is_start_minus_scheduled_for() -> None:
    evidence = honest(())
    (run, *_) = (run for run in evidence.runs if run.started_at is not None)
    late = replace(run, started_at=run.scheduled_for + (at(0.25) - at(0)))
    assert takeover(replace(evidence, runs=(late,))).lateness == Spread(1, 250.0, 250.0, 250.0)
    assert takeover(replace(evidence, runs=(replace(late, origin="trigger"),))).lateness.n == 0


def test_what_a_fault_costs_that_the_leader_holds_out_against_is_its_silence() -> None:
    """The next fire may come at once, and the pause after it."""
    evidence = honest(("kill", "stop-10"))
    kill, stop = evidence.faults
    found = takeover(replace(evidence, faults=(kill, replace(stop, first_fire_at=stop.injected_at)))).silences
    assert 2_900 < found["stop-10"].max < 3_100  # type: ignore[operator]
    assert found["kill"].max < 500  # type: ignore[operator]

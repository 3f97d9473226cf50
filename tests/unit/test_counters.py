"""What a replica counts about itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_core import ScheduleJob
from scheduler_core.domain.planning.plan import Missed, Plan, StoredJob
from scheduler_core.domain.runs.run import Failure, Origin, Outcome, Run, RunStatus
from scheduler_core.engine.counters import Counters, Histogram

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def outcome(
    status: RunStatus = RunStatus.SUCCEEDED,
    *,
    origin: Origin = Origin.SCHEDULE,
    late: float = 0.0,
    took: float = 0.0,
    failure: Failure | None = None,
    reason: str | None = None,
    attempts_before: int = 0,
    called: bool = True,
) -> Outcome:
    run = Run(uuid4(), "j", NOON, NOON, origin, 1, 1, attempt=attempts_before)
    started_at = NOON + timedelta(seconds=late) if called else None
    finished_at = NOON + timedelta(seconds=late + took)
    return Outcome(run, status, attempts_before + 1, reason, started_at, finished_at, None, failure)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 7.0])), st.lists(st.floats(0, 10)))
def test_a_batch_counts_as_each_of_its_values_does(often: list[float], seldom: list[float]) -> None:
    """A value that is a bound lies at it, not above: `le` says less than or equal."""
    bounds = (0.5, 1.0, 2.0, 5.0)
    batch, one_by_one = Histogram(bounds), Histogram(bounds)
    batch.see_all([*often, *seldom])
    for value in [*often, *seldom]:
        one_by_one.see(value)
    upto = [sum(value <= bound for value in [*often, *seldom]) for bound in bounds]
    assert [sum(batch.counts[: place + 1]) for place in range(4)] == upto
    assert batch.counts == one_by_one.counts
    assert sum(batch.counts) == len(often) + len(seldom)
    assert batch.total == pytest.approx(one_by_one.total)


def test_what_ended_is_counted_once_by_how_it_ended() -> None:
    counters = Counters()
    timed_out = Failure("timeout", "TimeoutError", "too long")
    counters.outcomes_recorded(
        [
            outcome(late=0.2, took=2.0),
            outcome(late=0.4, took=3.0),
            outcome(RunStatus.FAILED, failure=timed_out, late=1.0, took=60.0, attempts_before=2),
            outcome(RunStatus.RETRYING, failure=Failure("failed", "ValueError", "no")),
            outcome(RunStatus.SKIPPED, reason="overlap", called=False),
            outcome(RunStatus.RUNNING),
            outcome(RunStatus.PENDING),
            outcome(origin=Origin.TRIGGER, late=5.0),
        ],
        frozenset(),
    )
    assert counters.ended == {
        ("succeeded", "schedule", ""): 2,
        ("failed", "schedule", ""): 1,
        ("skipped", "schedule", "overlap"): 1,
        ("succeeded", "trigger", ""): 1,
    }
    assert counters.attempts == {"succeeded": 3, "timeout": 1, "failed": 1}
    assert sum(counters.duration.counts) == 4, "what was never called took no time"
    assert counters.duration.total == pytest.approx(65.0)
    assert sum(counters.lateness.counts) == 2, "of runs that follow a schedule and begin here"
    assert counters.lateness.total == pytest.approx(0.6)


def test_what_a_claim_counts_out_counts_only_if_the_claim_moved_the_job() -> None:
    def planned(job_id: str) -> Plan:
        definition = ScheduleJob(job_id, "J", "interval", 1, callback="m:f").definition("UTC")
        job = StoredJob(definition, 1, NOON, definition.schedule(NOON), NOON)
        return Plan(job, (), (Missed(3, NOON, NOON, "misfire"), Missed(2, NOON, NOON, "calendar")), None, None)

    counters = Counters()
    counters.see_claim([planned("moved"), planned("lost to an operator")], frozenset({"moved"}), 7, 0.004)
    assert counters.unfired == {("missed", "misfire"): 3, ("skipped", "calendar"): 2}
    assert counters.claimed == 7
    assert counters.claim_seconds.total == pytest.approx(0.004)


def test_a_loop_that_is_held_up_is_told_from_one_that_rests() -> None:
    counters = Counters()
    for now in (10.0, 10.125, 10.250):
        counters.see_loop(now, 0.125)
    assert counters.loop_blocked_seconds == 0.0
    counters.see_loop(12.375, 0.125)
    assert counters.loop_blocked_seconds == pytest.approx(2.0)
    counters.loop_rests()
    counters.see_loop(100.0, 0.125)
    assert counters.loop_blocked_seconds == pytest.approx(2.0)

"""Planning accounts for every occurrence, once: as a fire or inside a count."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_core import ScheduleJob
from scheduler_core.domain.planning.planning import (
    MAX_FIRES_PER_PLAN,
    StoredJob,
    due_at,
    jitter_offset,
    occurrences,
    plan,
    settlement,
)

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def stored(value: Any = 60, *, kind: str = "interval", cursor: datetime | None = None, **policies: Any) -> StoredJob:
    job = ScheduleJob("j", "J", kind, value, "app:f", timezone="UTC", **policies)
    definition = job.definition("UTC")
    schedule = definition.schedule(T0)
    first = cursor or schedule.first(T0)
    return StoredJob(definition, 1, T0, schedule, first, due_at(definition, schedule, first))


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_nothing_is_due_before_its_instant() -> None:
    made = plan(stored(), after(59.9))
    assert made.fires == ()
    assert made.next_run == after(60)


def test_what_is_due_soon_is_claimed_ahead() -> None:
    made = plan(stored(), after(59.96), timedelta(milliseconds=50))
    assert [fire.scheduled_for for fire in made.fires] == [after(60)]
    assert made.next_run == after(120)


def test_within_the_grace_every_occurrence_fires() -> None:
    made = plan(stored(1, misfire_grace=10), after(5.5))
    assert [fire.scheduled_for for fire in made.fires] == [after(n) for n in range(1, 6)]
    assert made.missed == ()


def test_latest_coalesces_misfires_into_the_latest_due_occurrence() -> None:
    """apscheduler #146, a late run is not silently dropped."""
    made = plan(stored(60), after(600 + 30))
    assert [fire.scheduled_for for fire in made.fires] == [after(600)]
    assert [(m.count, m.first, m.last, m.reason) for m in made.missed] == [(9, after(60), after(540), "misfire")]


def test_latest_drops_every_misfire_when_one_within_the_grace_fires() -> None:
    made = plan(stored(60), after(605))
    assert [fire.scheduled_for for fire in made.fires] == [after(600)]
    assert made.missed[0].count == 9


def test_skip_counts_every_misfire() -> None:
    made = plan(stored(60, misfire="skip"), after(600 + 30))
    assert made.fires == ()
    assert made.missed[0].count == 10
    assert made.next_run == after(660)


def test_all_fires_each_up_to_the_catch_up_limit() -> None:
    made = plan(stored(60, misfire="all", catch_up_limit=4), after(600 + 30))
    assert [fire.scheduled_for for fire in made.fires] == [after(n * 60) for n in (7, 8, 9, 10)]
    assert (made.missed[0].count, made.missed[0].last) == (6, after(360))


def test_a_year_of_missed_seconds_is_planned_without_walking() -> None:
    """kubernetes #42649. Walking 31 million instants takes minutes; counting takes none of them."""
    job = stored(1, misfire="latest", misfire_grace=0.5)
    now = after(365 * 86_400 + 0.7)
    started = time.process_time()
    made = plan(job, now)
    assert time.process_time() - started < 1.0
    assert made.missed[0].count + len(made.fires) == 365 * 86_400
    assert len(made.fires) == 1


def test_a_plan_is_bounded_and_the_cursor_stops_behind_its_last_fire() -> None:
    job = stored(0.001, misfire_grace=10)
    made = plan(job, after(5))
    assert len(made.fires) == MAX_FIRES_PER_PLAN
    assert made.next_run == job.schedule.next_after(made.fires[-1].scheduled_for)


def test_once_fires_late_and_then_never_again() -> None:
    job = stored(T0.isoformat(), kind="once")
    made = plan(job, after(3600))
    assert [fire.scheduled_for for fire in made.fires] == [T0]
    assert made.next_run is None


def test_a_paused_job_counts_and_does_not_fire() -> None:
    job = replace(stored(60), paused_at=T0)
    made = plan(job, after(200))
    assert made.fires == ()
    assert (made.missed[0].count, made.missed[0].reason) == (3, "paused")


def test_a_pause_that_has_run_out_counts_up_to_its_end() -> None:
    job = replace(stored(60), paused_at=T0, paused_until=after(150))
    made = plan(job, after(181))
    assert (made.missed[0].count, made.missed[0].last) == (2, after(120))
    assert [fire.scheduled_for for fire in made.fires] == [after(180)]


def test_jitter_moves_the_start_and_never_the_occurrence() -> None:
    job = stored(60, jitter=5)
    made = plan(job, after(66))
    (fire,) = made.fires
    assert fire.scheduled_for == after(60)
    assert fire.due_at == after(60) + jitter_offset("j", after(60), 5)
    assert after(60) <= fire.due_at <= after(65)


def test_jitter_is_the_same_wherever_it_is_computed() -> None:
    assert jitter_offset("j", T0, 5) == jitter_offset("j", T0.astimezone(), 5)
    assert len({jitter_offset("j", after(n), 5) for n in range(50)}) > 40


@pytest.mark.parametrize("reason", ["paused", "removed"])
def test_a_settlement_with_a_reason_fires_nothing_and_counts_up_to_now(reason: str) -> None:
    made = settlement(stored(60), after(180), reason)
    assert made.fires == ()
    assert (made.missed[0].count, made.missed[0].reason) == (3, reason)
    assert made.next_run == after(240)


def test_an_edit_swallows_no_tick_that_was_just_due() -> None:
    made = settlement(stored(60), after(60.02), None)
    assert [fire.scheduled_for for fire in made.fires] == [after(60)]


@settings(max_examples=200, deadline=None)
@given(
    interval=st.sampled_from([1, 7, 60, 3600]),
    late=st.floats(0, 20_000),
    grace=st.floats(0, 600),
    misfire=st.sampled_from(["latest", "all", "skip"]),
    limit=st.integers(1, 50),
    jitter=st.sampled_from([0, 0.5]),
)
def test_every_occurrence_is_accounted_for_exactly_once(
    interval: int, late: float, grace: float, misfire: str, limit: int, jitter: float
) -> None:
    """I4: up to the cursor each occurrence is fired or counted, none twice; planned to the end, whatever the policy."""
    job = stored(interval, misfire=misfire, misfire_grace=grace, catch_up_limit=limit, jitter=jitter)
    now = after(late)
    fired: list[datetime] = []
    counted = 0
    while True:
        made = plan(job, now)
        fired += [fire.scheduled_for for fire in made.fires]
        counted += sum(m.count for m in made.missed)
        assert made.next_run is not None
        if made.next_run == job.next_run:
            break
        job = replace(job, next_run=made.next_run)
    expected = list(occurrences(job.schedule, T0, job.next_run - timedelta(microseconds=1)))
    assert len(fired) + counted == len(expected)
    assert len(set(fired)) == len(fired)
    assert set(fired) <= set(expected)
    assert fired == sorted(fired)

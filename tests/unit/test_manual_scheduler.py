"""Jobs in virtual time: the product's planning, turns, attempts and retries, with no server and no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler_core import InvalidJobError, JobNotFoundError, RunContext, RunStatus, ScheduleJob
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.testing import ManualScheduler, RecordedRun, VirtualClock, VirtualTimeError

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def every(seconds: float, callback: Any, job_id: str = "j", **policies: Any) -> ScheduleJob:
    return ScheduleJob(job_id, job_id, "interval", seconds, callback, **policies)


def nothing() -> None:
    """Succeeds at once."""


@pytest.fixture
async def scheduler() -> AsyncIterator[ManualScheduler]:
    async with ManualScheduler(VirtualClock(START), patience_seconds=30) as made:
        yield made


def seen(runs: list[RecordedRun]) -> list[tuple[float, str, str | None]]:
    return [((run.scheduled_for - START).total_seconds(), run.status.value, run.reason) for run in runs]


async def test_each_occurrence_fires_at_its_instant(scheduler: ManualScheduler) -> None:
    instants = []
    await scheduler.add_job(every(60, lambda: instants.append(scheduler.clock.now())))
    await scheduler.advance(59)
    assert scheduler.runs == []
    await scheduler.advance(121)
    assert instants == [at(60), at(120), at(180)]
    assert [run.lateness for run in scheduler.runs] == [timedelta(0)] * 3
    assert scheduler.clock.now() == at(180)
    status = scheduler.status("j")
    assert (status.run_count, status.next_run, status.last_run) == (3, at(240), at(180))


async def test_an_async_callback_with_context_and_arguments(scheduler: ManualScheduler) -> None:
    contexts: list[tuple[RunContext, int, str]] = []

    async def callback(ctx: RunContext, number: int, *, word: str) -> None:
        contexts.append((ctx, number, word))

    await scheduler.add_job(every(60, callback, timeout=5, args=(7,), kwargs={"word": "w"}))
    await scheduler.advance(60)
    ((ctx, number, word),) = contexts
    assert (ctx.job_id, ctx.scheduled_for, ctx.attempt, ctx.deadline) == ("j", at(60), 1, at(65))
    assert (number, word, ctx.still_owner()) == (7, "w", True)
    assert ctx.idempotency_key == "j@2026-01-01T00:01:00+00:00"


async def test_retries_wait_by_the_virtual_clock(scheduler: ManualScheduler) -> None:
    attempts: list[datetime] = []

    def fails_twice() -> None:
        attempts.append(scheduler.clock.now())
        if len(attempts) < 3:
            raise ValueError("no")

    await scheduler.add_job(every(3600, fails_twice, retry_delay=10))
    await scheduler.advance(3600)
    (run,) = scheduler.runs
    assert (run.status, run.attempts, run.next_attempt_at) == (RunStatus.RETRYING, 1, at(3610))
    await scheduler.run_until_idle()
    assert attempts == [at(3600), at(3610), at(3630)]
    (run,) = scheduler.runs
    assert (run.status, run.attempts, run.duration) == (RunStatus.SUCCEEDED, 3, timedelta(seconds=30))
    assert [failure.summary for failure in run.failures] == ["ValueError: no"] * 2
    assert scheduler.status("j").error_count == 2


async def test_a_run_that_keeps_failing_fails_and_disables_its_job(scheduler: ManualScheduler) -> None:
    def fails() -> None:
        raise ValueError("never")

    await scheduler.add_job(every(60, fails, max_retries=1, retry_delay=1, disable_after=2))
    await scheduler.advance(3600)
    assert seen(scheduler.runs) == [(60, "failed", None), (120, "failed", None)]
    assert [run.attempts for run in scheduler.runs] == [2, 2]
    assert not scheduler.status("j").enabled
    assert scheduler.runs[0].error == "ValueError: never"
    await scheduler.resume("j")
    await scheduler.advance(61)
    assert [run.status for run in scheduler.runs[2:]] == [RunStatus.MISSED, RunStatus.FAILED]


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [
        ("latest", [(3000, "missed", "misfire"), (3600, "succeeded", None)]),
        ("skip", [(3000, "missed", "misfire"), (3600, "succeeded", None)]),
        ("all", [(1800, "missed", "misfire"), *((s, "succeeded", None) for s in (2400, 3000, 3600))]),
    ],
)
async def test_an_outage_is_planned_by_the_misfire_policy(
    scheduler: ManualScheduler, misfire: str, expected: list[Any]
) -> None:
    await scheduler.add_job(every(600, nothing, misfire=misfire, catch_up_limit=2))
    scheduler.clock.set(at(3605))
    await scheduler.run_until_idle()
    assert seen(scheduler.runs) == expected
    missed = scheduler.runs[0]
    assert missed.missed_count == (3 if misfire == "all" else 5)
    assert missed.missed_from == at(600)
    assert scheduler.runs[-1].lateness == timedelta(seconds=5)


async def test_a_year_of_missed_seconds_is_counted(scheduler: ManualScheduler) -> None:
    """kubernetes #42649."""
    await scheduler.add_job(every(1, nothing, misfire="skip"))
    scheduler.clock.set("2027-01-01T00:00:00.5Z")
    await scheduler.run_until_idle()
    missed = [run for run in scheduler.runs if run.status is RunStatus.MISSED]
    assert [run.missed_count for run in missed] == [365 * 86_400 - 10]
    assert len(scheduler.runs) == 11


async def test_too_many_fires_are_refused_before_the_first(scheduler: ManualScheduler) -> None:
    called = []
    await scheduler.add_job(every(1, lambda: called.append(1)))
    with pytest.raises(VirtualTimeError, match=r"31,536,000 times.*clock\.set"):
        await scheduler.advance_to("2027-01-01")
    assert called == []


async def test_jobs_that_share_a_limit_wait_for_a_place_in_order_of_priority(scheduler: ManualScheduler) -> None:
    order: list[str] = []

    async def lasts(ctx: RunContext) -> None:
        order.append(ctx.job_id)
        await scheduler.clock.sleep(10)

    limit: dict[str, Any] = {"concurrency_key": "narrow", "concurrency_limit": 2}
    names = {"c": 9, "b": 5, "a": 0, "d": 5}
    await scheduler.add_jobs([every(60, lasts, name, priority=rank, **limit) for name, rank in names.items()])
    await scheduler.advance(60)
    assert len(order) == 2
    await scheduler.advance(10)
    assert len(order) == 4
    await scheduler.advance(10)
    assert {run.status for run in scheduler.runs} == {RunStatus.SUCCEEDED}
    assert order[2:] == sorted(order[2:], key=lambda name: (names[name], name))


async def test_what_exceeds_a_rate_waits_until_the_rate_allows_it(scheduler: ManualScheduler) -> None:
    instants: list[float] = []

    async def work() -> None:
        instants.append((scheduler.clock.now() - START).total_seconds())

    rate: dict[str, Any] = {"rate_limit": "2/minute", "concurrency_key": "partner"}
    await scheduler.add_jobs([every(600, work, f"j{number}", **rate) for number in range(5)])
    await scheduler.advance(600)
    assert instants == [600, 600]
    await scheduler.advance(90)
    assert instants == [600, 600, 630, 660, 690]


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", [(60, "succeeded", None), (120, "skipped", "overlap"), (180, "running", None)]),
        ("queue", [(60, "succeeded", None), (120, "running", None), (180, "queued", None)]),
        ("allow", [(60, "succeeded", None), (120, "running", None), (180, "running", None)]),
    ],
)
async def test_a_run_that_lasts_overlaps_the_next(
    scheduler: ManualScheduler, overlap: str, expected: list[Any]
) -> None:
    async def lasts() -> None:
        await scheduler.clock.sleep(100)

    await scheduler.add_job(every(60, lasts, overlap=overlap))
    await scheduler.advance(180)
    assert seen(scheduler.runs) == expected


async def test_work_that_ends_at_an_instant_is_out_of_the_way_of_what_is_due_then(scheduler: ManualScheduler) -> None:
    async def lasts() -> None:
        await scheduler.clock.sleep(60)

    await scheduler.add_job(every(60, lasts))
    await scheduler.advance(240)
    assert {status for _, status, _ in seen(scheduler.runs[:3])} == {"succeeded"}


async def test_a_sync_callback_may_last_too(scheduler: ManualScheduler) -> None:
    await scheduler.add_job(every(60, lambda: scheduler.clock.block(90)))
    await scheduler.advance(155)
    assert seen(scheduler.runs) == [(60, "succeeded", None), (120, "skipped", "overlap")]
    assert scheduler.runs[0].duration == timedelta(seconds=90)


async def test_tasks_of_a_callback_sleep_on_its_behalf(scheduler: ManualScheduler) -> None:
    async def gathers() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds in (10, 20, 30):
                group.create_task(scheduler.clock.sleep(seconds))

    await scheduler.add_job(every(60, gathers))
    await scheduler.advance(100)
    assert scheduler.runs[0].duration == timedelta(seconds=30)


async def test_a_timeout_strikes_by_the_virtual_clock(scheduler: ManualScheduler) -> None:
    cleaned = []

    async def lasts() -> None:
        try:
            await scheduler.clock.sleep(1000)
        finally:
            cleaned.append(scheduler.clock.now())

    await scheduler.add_job(every(3600, lasts, timeout=30, max_retries=0))
    await scheduler.advance(3600 + 30)
    (run,) = scheduler.runs
    assert cleaned == [at(3630)]
    assert (run.status, run.duration) == (RunStatus.FAILED, timedelta(seconds=30))
    assert run.failures[0].outcome == "timeout"


async def test_a_sync_callback_keeps_its_turn_beyond_its_timeout(scheduler: ManualScheduler) -> None:
    """As in the product: a thread can't be stopped, so the attempt is a timeout, and ends when the thread does."""
    await scheduler.add_job(every(3600, lambda: scheduler.clock.block(100), timeout=30, max_retries=0))
    await scheduler.advance(3600 + 100)
    (run,) = scheduler.runs
    assert (run.failures[0].outcome, run.duration) == ("timeout", timedelta(seconds=100))


async def test_a_callback_that_meets_its_timeout_succeeds(scheduler: ManualScheduler) -> None:
    async def lasts() -> None:
        async with scheduler.clock.timeout(15):
            await scheduler.clock.sleep(10)

    await scheduler.add_job(every(60, lasts, timeout=20))
    await scheduler.advance(100)
    assert scheduler.runs[0].status is RunStatus.SUCCEEDED


async def test_jitter_makes_late_by_the_same_each_time() -> None:
    async def lateness() -> timedelta | None:
        async with ManualScheduler(VirtualClock(START)) as scheduler:
            await scheduler.add_job(every(3600, nothing, jitter=60))
            await scheduler.advance(3700)
            return scheduler.runs[0].lateness

    first = await lateness()
    assert first is not None
    assert timedelta(0) < first < timedelta(seconds=60)
    assert await lateness() == first


async def test_a_trigger_runs_at_once_and_waits_for_its_turn(scheduler: ManualScheduler) -> None:
    async def lasts() -> None:
        await scheduler.clock.sleep(10)

    await scheduler.add_job(every(3600, lasts))
    first = await scheduler.trigger("j")
    second = await scheduler.trigger("j")
    assert (first.status, first.origin.value, first.scheduled_for) == (RunStatus.RUNNING, "trigger", START)
    assert second.status is RunStatus.QUEUED
    await scheduler.run_until_idle()
    assert [run.status for run in scheduler.runs] == [RunStatus.SUCCEEDED] * 2
    assert scheduler.clock.now() == at(20)
    with pytest.raises(JobNotFoundError):
        await scheduler.trigger("nobody")


async def test_what_falls_due_during_a_pause_is_counted(scheduler: ManualScheduler) -> None:
    await scheduler.add_job(every(60, nothing))
    await scheduler.advance(60)
    await scheduler.pause("j")
    await scheduler.advance(180)
    assert scheduler.status("j").paused
    await scheduler.resume("j")
    await scheduler.advance(60)
    assert seen(scheduler.runs) == [(60, "succeeded", None), (240, "missed", "paused"), (300, "succeeded", None)]


async def test_a_pause_ends_by_itself(scheduler: ManualScheduler) -> None:
    await scheduler.add_job(every(60, nothing))
    await scheduler.pause("j", until=at(150))
    await scheduler.advance(180)
    assert seen(scheduler.runs) == [(120, "missed", "paused"), (180, "succeeded", None)]


async def test_a_wall_clock_job_follows_its_zone(scheduler: ManualScheduler) -> None:
    await scheduler.add_job(ScheduleJob("d", "d", "daily", "02:30", nothing, timezone="Europe/Berlin"))
    scheduler.clock.set("2026-03-28T12:00Z")
    await scheduler.run_until_idle()
    await scheduler.advance_to("2026-03-30T12:00Z")
    # 02:30 does not exist on the 29th.
    assert [run.scheduled_for.isoformat()[:16] for run in scheduler.runs[1:]] == [
        "2026-03-28T01:30",
        "2026-03-29T01:00",
        "2026-03-30T00:30",
    ]


async def test_a_calendar_keeps_a_job_from_firing(scheduler: ManualScheduler) -> None:
    job = ScheduleJob("d", "d", "daily", "09:00", nothing, calendars=("holidays",))
    with pytest.raises(InvalidJobError, match="holidays"):
        await scheduler.add_job(job)
    await scheduler.add_calendar(Calendar("holidays", ["2026-01-02", "2026-01-04"]))
    await scheduler.add_job(job)
    await scheduler.advance_to("2026-01-03T10:00Z")
    await scheduler.add_calendar(Calendar("holidays", ["2026-01-02"]))
    await scheduler.advance_to("2026-01-04T10:00Z")
    assert [(run.scheduled_for.day, run.status.value, run.reason) for run in scheduler.runs] == [
        (1, "succeeded", None),
        (2, "skipped", "calendar"),
        (3, "succeeded", None),
        (4, "succeeded", None),
    ]


async def test_a_once_job_runs_once_and_is_finished(scheduler: ManualScheduler) -> None:
    await scheduler.add_job(ScheduleJob("o", "o", "once", None, nothing))
    assert scheduler.runs == []
    await scheduler.run_until_idle()
    await scheduler.advance(3600)
    assert seen(scheduler.runs) == [(0, "succeeded", None)]
    assert not scheduler.status("o").enabled


async def test_two_jobs_with_one_lock_exclude_each_other(scheduler: ManualScheduler) -> None:
    async def lasts() -> None:
        await scheduler.clock.sleep(5)

    locked = {"use_distributed_lock": True, "lock_key": "one"}
    await scheduler.add_jobs([every(60, lasts, "a", **locked), every(60, lasts, "b", **locked)])
    await scheduler.advance(70)
    assert [run.reason for run in scheduler.runs_of("a") + scheduler.runs_of("b")] == [None, "locked"]


async def test_a_changed_job_goes_on_from_where_it_was_first_stored(scheduler: ManualScheduler) -> None:
    await scheduler.add_job(every(60, nothing))
    await scheduler.advance(30)
    await scheduler.add_job(every(60, nothing, max_retries=9))
    assert scheduler.status("j").next_run == at(60)
    await scheduler.add_job(every(100, nothing))
    assert scheduler.status("j").next_run == at(100)
    await scheduler.remove_job("j")
    with pytest.raises(JobNotFoundError):
        scheduler.status("j")


async def test_a_callback_that_hangs_is_named() -> None:
    never = asyncio.Event()

    async with ManualScheduler(patience_seconds=0.01) as scheduler:
        await scheduler.add_job(every(60, never.wait))
        with pytest.raises(VirtualTimeError, match=r"callback of j is neither ended.*clock\.sleep"):
            await scheduler.advance(60)
    assert scheduler.runs[0].status is RunStatus.CANCELLED


async def test_idleness_has_a_limit(scheduler: ManualScheduler) -> None:
    async def lasts() -> None:
        await scheduler.clock.sleep(120)

    await scheduler.add_job(every(60, lasts, overlap="allow"))
    await scheduler.advance(60)
    with pytest.raises(VirtualTimeError, match="after 600 s of virtual time"):
        await scheduler.run_until_idle(within_seconds=600)


async def test_a_callback_can_not_move_its_own_time(scheduler: ManualScheduler) -> None:
    async def moves() -> None:
        await scheduler.advance(10)

    await scheduler.add_job(every(60, moves, max_retries=0))
    await scheduler.advance(60)
    assert "can't move the time" in (scheduler.runs[0].error or "")


async def test_time_does_not_advance_backwards(scheduler: ManualScheduler) -> None:
    with pytest.raises(VirtualTimeError, match=r"clock\.set"):
        await scheduler.advance(-1)


async def test_what_is_no_job_is_refused(scheduler: ManualScheduler) -> None:
    with pytest.raises(InvalidJobError, match="ScheduleJob"):
        await scheduler.add_jobs(["j"])  # type: ignore[list-item]
    with pytest.raises(InvalidJobError, match="twice"):
        await scheduler.add_jobs([every(60, nothing), every(60, nothing)])


def test_a_scheduler_may_be_used_by_several_loops() -> None:
    scheduler = ManualScheduler(VirtualClock(START))
    asyncio.run(scheduler.add_job(every(60, nothing)))
    asyncio.run(scheduler.advance(60))
    asyncio.run(scheduler.advance(60))
    assert len(scheduler.runs) == 2
    scheduler.close()


def test_closing_lets_blocked_threads_go() -> None:
    scheduler = ManualScheduler(VirtualClock(START))

    async def work() -> None:
        await scheduler.add_job(every(60, lambda: scheduler.clock.block(100)))
        await scheduler.advance(60)
        await scheduler.aclose()

    asyncio.run(work())
    assert scheduler.runs[0].status is RunStatus.CANCELLED

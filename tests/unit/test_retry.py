"""Retries: how many, how long between, and that they carry on where a dead leader stopped."""

from __future__ import annotations

import pytest

from scheduler_core import ScheduleJob
from scheduler_core.domain.job import JobDefinition
from scheduler_core.domain.run import Failure
from scheduler_core.engine.retry import JITTER_FRACTION, retry

FAILED = Failure("failed", "ValueError", "no")


def definition(**policies: object) -> JobDefinition:
    return ScheduleJob("j", "J", "interval", 60, "app:f", **policies).definition("UTC")


class Recorded:
    """What happened, in order."""

    def __init__(self, outcomes: list[Failure | None]) -> None:
        self.outcomes = outcomes
        self.attempts: list[int] = []
        self.durable: list[tuple[int, float]] = []
        self.slept: list[float] = []

    async def again(self, number: int) -> Failure | None:
        self.attempts.append(number)
        return self.outcomes.pop(0)

    async def before_wait(self, number: int, _failure: Failure, delay_seconds: float) -> None:
        assert len(self.slept) == len(self.durable), "a wait began before its attempt was durable"
        self.durable.append((number, delay_seconds))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def run(
    job: JobDefinition, failed_attempts: int, outcomes: list[Failure | None]
) -> tuple[Recorded, Failure | None]:
    recorded = Recorded(outcomes)
    result = await retry(
        job,
        FAILED,
        failed_attempts,
        again=recorded.again,
        before_wait=recorded.before_wait,
        sleep=recorded.sleep,
    )
    return recorded, result


async def test_three_retries_make_four_attempts_with_three_growing_waits() -> None:
    recorded, result = await run(definition(max_retries=3), 1, [FAILED, FAILED, FAILED])
    assert recorded.attempts == [2, 3, 4]
    assert [number for number, _ in recorded.durable] == [1, 2, 3]
    assert recorded.slept == sorted(recorded.slept)
    assert len(set(recorded.slept)) == 3
    assert result == FAILED


async def test_a_success_ends_it() -> None:
    recorded, result = await run(definition(max_retries=3), 1, [FAILED, None])
    assert recorded.attempts == [2, 3]
    assert result is None


async def test_no_retries_left_means_no_wait() -> None:
    recorded, result = await run(definition(max_retries=2), 3, [])
    assert recorded.slept == []
    assert result == FAILED


async def test_a_successor_carries_on_with_count_and_wait() -> None:
    """The third failure waits as long after a takeover as it would have without."""
    recorded, _ = await run(definition(max_retries=5, retry_delay=1), 3, [None])
    assert recorded.attempts == [4]
    assert 4 <= recorded.slept[0] <= 4 + JITTER_FRACTION


@pytest.mark.parametrize("failures", [3, 10, 50])
async def test_a_wait_never_exceeds_the_longest(failures: int) -> None:
    job = definition(max_retries=failures + 5, retry_delay=1, retry_max_delay=5)
    recorded, _ = await run(job, failures, [None])
    assert recorded.slept[0] <= 5 * (1 + JITTER_FRACTION)

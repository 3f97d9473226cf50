"""Retries: how many, how long between, and that they carry on where a dead leader stopped."""

from __future__ import annotations

import pytest

from scheduler_core import ScheduleJob
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.runs.ending import CUT_OFF, LOCKED, NOT_BEGUN, RETURNED, Ending, How
from scheduler_core.domain.runs.run import Failure
from scheduler_core.engine.fire.retry import JITTER_FRACTION, Retry

FAILED = Ending(How.RAISED, Failure("failed", "ValueError", "no"))


def definition(**policies: object) -> JobDefinition:
    return ScheduleJob("j", "J", "interval", 60, "app:f", **policies).definition("UTC")


class Recorded:
    """What happened, in order."""

    def __init__(self, definition: JobDefinition, endings: list[Ending], *, stays: bool = True) -> None:
        self.definition = definition
        self.endings = endings
        self.stays = stays
        self.attempts: list[int] = []
        self.durable: list[float] = []
        self.slept: list[float] = []

    async def again(self, number: int) -> Ending:
        self.attempts.append(number)
        return self.endings.pop(0)

    async def note_failure(self, ending: Ending, delay_seconds: float) -> None:
        assert ending.failure is not None
        assert len(self.slept) == len(self.durable), "a wait began before its attempt was durable"
        self.durable.append(delay_seconds)

    async def wait(self, delay_seconds: float) -> bool:
        self.slept.append(delay_seconds)
        return self.stays


async def run(
    job: JobDefinition, failed_attempts: int, endings: list[Ending], *, stays: bool = True
) -> tuple[Recorded, Ending]:
    recorded = Recorded(job, endings, stays=stays)
    return recorded, await Retry().until_settled(recorded, FAILED, failed_attempts)


async def test_three_retries_make_four_attempts_with_three_growing_waits() -> None:
    recorded, result = await run(definition(max_retries=3), 1, [FAILED, FAILED, FAILED])
    assert recorded.attempts == [2, 3, 4]
    assert recorded.durable == recorded.slept
    assert recorded.slept == sorted(recorded.slept)
    assert len(set(recorded.slept)) == 3
    assert result == FAILED


async def test_a_success_ends_it() -> None:
    recorded, result = await run(definition(max_retries=3), 1, [FAILED, RETURNED])
    assert recorded.attempts == [2, 3]
    assert result is RETURNED


async def test_no_retries_left_means_no_wait() -> None:
    recorded, result = await run(definition(max_retries=2), 3, [])
    assert recorded.slept == []
    assert result == FAILED


async def test_a_successor_carries_on_with_count_and_wait() -> None:
    """The third failure waits as long after a takeover as it would have without."""
    recorded, _ = await run(definition(max_retries=5, retry_delay=1), 3, [RETURNED])
    assert recorded.attempts == [4]
    assert 4 <= recorded.slept[0] <= 4 + JITTER_FRACTION


@pytest.mark.parametrize("failures", [3, 10, 50])
async def test_a_wait_never_exceeds_the_longest(failures: int) -> None:
    job = definition(max_retries=failures + 5, retry_delay=1, retry_max_delay=5)
    recorded, _ = await run(job, failures, [RETURNED])
    assert recorded.slept[0] <= 5 * (1 + JITTER_FRACTION)


async def test_who_may_not_make_the_next_attempt_makes_none() -> None:
    recorded, result = await run(definition(max_retries=3), 1, [], stays=False)
    assert (recorded.attempts, len(recorded.slept)) == ([], 1)
    assert result is NOT_BEGUN


@pytest.mark.parametrize("ending", [CUT_OFF, LOCKED, NOT_BEGUN, Ending(How.CANCELLED)])
async def test_what_was_done_to_a_run_is_not_tried_again(ending: Ending) -> None:
    recorded, result = await run(definition(max_retries=3), 1, [ending])
    assert recorded.attempts == [2]
    assert result is ending

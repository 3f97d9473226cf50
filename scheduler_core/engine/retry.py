"""Trying again: tenacity, entered only once an attempt has failed.

Entering it for every run costs as much as a fire (20 to 29 µs, measured), so the first attempt goes straight. A
failure is then played back to tenacity as its first try; from there it decides whether and how long to wait. An
attempt number carries on where a dead leader stopped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    RetryError,
    retry_if_result,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from scheduler_core.domain.job import JobDefinition
from scheduler_core.domain.run import Failure

JITTER_FRACTION = 0.25
"""Of the first delay: spreads retries that failed together, and still lets each wait be longer than the last."""


async def retry(
    definition: JobDefinition,
    first: Failure,
    failed_attempts: int,
    *,
    again: Callable[[int], Awaitable[Failure | None]],
    before_wait: Callable[[int, Failure, float], Awaitable[None]],
    sleep: Callable[[float], Awaitable[None]],
    jitter_fraction: float = JITTER_FRACTION,
) -> Failure | None:
    """Attempt until one succeeds or `max_retries` are used up.

    Parameters: first, the failure that led here; failed_attempts, how many attempts have ended by now, that one
    included; again, makes the attempt of this number; before_wait, makes the failed attempt and the time of the
    next durable (number, failure, delay in seconds); sleep, waits (seconds); jitter_fraction, of the first delay,
    by which a wait is longer at random.
    Returns None for success, else the last failure.
    """
    remaining = definition.max_retries + 1 - failed_attempts
    if remaining <= 0:
        return first

    def wait(state: RetryCallState) -> float:
        # The exponent follows the run's own count, also when this replica took it over half-way.
        return delay_seconds(definition, failed_attempts + state.attempt_number - 1, jitter_fraction)

    async def make_durable(state: RetryCallState) -> None:
        failure = state.outcome.result() if state.outcome is not None else None
        delay = state.next_action.sleep if state.next_action is not None else 0.0
        assert failure is not None
        await before_wait(failed_attempts + state.attempt_number - 1, failure, delay)

    retrying = AsyncRetrying(
        stop=stop_after_attempt(remaining + 1),
        wait=wait,
        retry=retry_if_result(lambda failure: failure is not None),
        before_sleep=make_durable,
        sleep=sleep,
    )
    tries = 0

    async def attempt_next() -> Failure | None:
        nonlocal tries
        tries += 1
        return first if tries == 1 else await again(failed_attempts + tries - 1)

    try:
        return await retrying(attempt_next)
    except RetryError as exhausted:
        last: Failure | None = exhausted.last_attempt.result()
        return last


def delay_seconds(definition: JobDefinition, failed_attempts: int, jitter_fraction: float = JITTER_FRACTION) -> float:
    """How long to wait after the attempt of this number has failed: doubled from `retry_delay` on, and spread."""
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = failed_attempts
    grow = wait_exponential(multiplier=definition.retry_delay, max=definition.retry_max_delay, exp_base=2)
    spread = wait_random(0, definition.retry_delay * jitter_fraction)
    return min(grow(state) + spread(state), definition.retry_max_delay * (1 + jitter_fraction))

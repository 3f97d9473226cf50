"""Trying again: tenacity, entered only once an attempt has failed.

Entering it for every run costs as much as a fire (20 to 29 µs, measured), so the first attempt goes straight. Its
failure is then played back to tenacity as its first try; from there it decides whether and how long to wait. An attempt
number carries on where a dead leader stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    RetryError,
    retry_if_result,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.runs.ending import NOT_BEGUN, Ending, How

JITTER_FRACTION = 0.25
"""Of the first delay: spreads retries that failed together, and still lets each wait be longer than the last."""


class Retried(Protocol):
    """A run that is tried again."""

    @property
    def definition(self) -> JobDefinition: ...

    async def again(self, number: int) -> Ending:
        """Make the attempt of this number."""

    async def note_failure(self, ending: Ending, delay_seconds: float) -> None:
        """Make the failed attempt durable, and the time of the next."""

    async def wait(self, delay_seconds: float) -> bool:
        """Wait; False if the next attempt is not this process's to make."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Parameters: jitter_fraction, of the first delay, by which a wait is longer at random."""

    jitter_fraction: float = JITTER_FRACTION

    async def until_settled(self, run: Retried, first: Ending, failed_attempts: int) -> Ending:
        """Attempt until one succeeds or `max_retries` are used up, or the run is no more ours to attempt.

        Parameters: first, the failure that led here; failed_attempts, how many attempts have ended by now, that one
        included. Returns how the last attempt ended.
        """
        definition = run.definition
        remaining = definition.max_retries + 1 - failed_attempts
        if remaining <= 0:
            return first
        is_ours = True

        def delay_after(state: RetryCallState) -> float:
            # The exponent follows the run's own count, also when this replica took it over half-way.
            return delay_seconds(definition, failed_attempts + state.attempt_number - 1, self.jitter_fraction)

        async def note_failure(state: RetryCallState) -> None:
            assert state.outcome is not None
            assert state.next_action is not None
            await run.note_failure(state.outcome.result(), state.next_action.sleep)

        async def wait(delay: float) -> None:
            nonlocal is_ours
            is_ours = await run.wait(delay)

        tries = 0

        async def attempt_next() -> Ending:
            nonlocal tries
            tries += 1
            if tries == 1:
                return first
            return await run.again(failed_attempts + tries - 1) if is_ours else NOT_BEGUN

        retrying = AsyncRetrying(
            stop=stop_after_attempt(remaining + 1),
            wait=delay_after,
            retry=retry_if_result(_is_to_be_repeated),
            before_sleep=note_failure,
            sleep=wait,
        )
        try:
            ending: Ending = await retrying(attempt_next)
        except RetryError as exhausted:
            ending = exhausted.last_attempt.result()
        return ending


def _is_to_be_repeated(ending: Ending) -> bool:
    return ending.is_own and ending.how is not How.RETURNED


def delay_seconds(definition: JobDefinition, failed_attempts: int, jitter_fraction: float = JITTER_FRACTION) -> float:
    """How long to wait after the attempt of this number has failed: doubled from `retry_delay` on, and spread."""
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = failed_attempts
    grow = wait_exponential(multiplier=definition.retry_delay, max=definition.retry_max_delay, exp_base=2)
    spread = wait_random(0, definition.retry_delay * jitter_fraction)
    return min(grow(state) + spread(state), definition.retry_max_delay * (1 + jitter_fraction))

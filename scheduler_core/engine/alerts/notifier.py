"""Delivering notifications: claim the next, send it, say how it ended.

A message is delivered at least once. It is sent a second time where nobody can know whether the first got through: an
answer that never came, a replica that died between the answer and writing it down. Its id is the same each time.
"""

from __future__ import annotations

import asyncio

from scheduler_core.domain.alerts.webhook import Verdict, encode_body, judge
from scheduler_core.domain.errors import SchedulerError, ServerUnreachableError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.alerts.webhook_client import Answer, Webhook
from scheduler_core.engine.clock import boottime
from scheduler_core.ports.alerts import Message, Notifications

MAX_IN_A_ROW = 100
SETTLE_TRIES = 5
SETTLE_AGAIN_SECONDS = 0.5


class Notifier:
    """Empties the outbox into a webhook.

    Parameters: outbox, what waits; webhook, where it goes.
    """

    def __init__(self, outbox: Notifications, webhook: Webhook, logger: LoggerLike) -> None:
        self._outbox = outbox
        self._webhook = webhook
        self._logger = logger
        # An attempt ends within its time limit, and what it came to is written within as much again.
        self._lease_seconds = 2 * webhook.timeout_seconds + SETTLE_TRIES * SETTLE_AGAIN_SECONDS

    async def deliver(self) -> float | None:
        """Send what waits, one after another, until nothing does or the receiver does not take it.

        Returns in how many seconds there will be something to do again; None: nothing is known to come.
        """
        soonest: float | None = None
        for _ in range(MAX_IN_A_ROW):
            claimed_at = boottime()
            message = await self._outbox.claim(lease_seconds=self._lease_seconds)
            if message is None:
                return soonest
            verdict = await self._attempt(message, claimed_at)
            if verdict.delivered or verdict.given_up:
                continue
            soonest = verdict.retry_seconds if soonest is None else min(soonest, verdict.retry_seconds)
            if not verdict.refused:
                return soonest
        return 0.0

    async def tidy(self) -> None:
        """Give up what nobody could deliver in time."""
        expired = await self._outbox.tidy()
        if expired:
            self._logger.error("%d notifications were not delivered in time and are given up", expired)

    async def _attempt(self, message: Message, claimed_at: float) -> Verdict:
        if boottime() - claimed_at > self._webhook.timeout_seconds:
            # The claim's answer took so long (this process was stopped, say) that the claim may be over.
            return Verdict(retry_seconds=0.0)
        try:
            answer = await self._webhook.send(str(message.message_id), encode_body(message.body))
        except asyncio.CancelledError:
            # The replica stops: another one sends it at once, and need not wait for the claim to run out.
            await self._settle(message, Verdict(), "the replica stopped during the attempt", tries=1)
            raise
        verdict = judge(answer.status, message.attempts, message.age)
        await self._settle(message, verdict, answer.error)
        self._tell(message, verdict, answer)
        return verdict

    async def _settle(self, message: Message, verdict: Verdict, error: str | None, tries: int = SETTLE_TRIES) -> None:
        for _ in range(tries):
            try:
                await self._outbox.settle(message, verdict, error)
                return
            except ServerUnreachableError as problem:
                self._logger.debug("notification %s: %s", message.message_id, problem)
                await asyncio.sleep(SETTLE_AGAIN_SECONDS)
            except SchedulerError as problem:
                self._logger.warning("notification %s: %s", message.message_id, problem)
                return

    def _tell(self, message: Message, verdict: Verdict, answer: Answer) -> None:
        what = f"notification {message.message_id} ({message.event})"
        if verdict.delivered:
            self._logger.debug("%s is delivered to %s", what, self._webhook.receiver)
        elif verdict.given_up:
            self._logger.error("%s is given up after %d attempts: %s", what, message.attempts, answer.error)
        elif message.attempts == 1 or verdict.retry_seconds >= 60:
            # Not each attempt: a receiver that is down for a day would fill the log.
            self._logger.warning(
                "%s is tried again in %g s: %s (attempt %d)",
                what,
                verdict.retry_seconds,
                answer.error,
                message.attempts,
            )

"""The lease as the elector uses it: what an answer of Redis, or none, comes to under `redis_outage`."""

from __future__ import annotations

from scheduler_core.domain.errors import SchedulerError, ServerUnreachableError
from scheduler_core.domain.run import LoggerLike
from scheduler_core.domain.trust import LeaseWatch, RedisOutage, Renewal, Timing
from scheduler_core.engine.clock import boottime
from scheduler_core.ports import Leadership, Lease


class LeaseHolder:
    """Parameters: lease, None for a process that takes part in no election."""

    def __init__(self, lease: Lease | None, timing: Timing, outage: RedisOutage, logger: LoggerLike) -> None:
        self.errors = 0
        self._lease = lease
        self._timing = timing
        self.outage = outage
        self._logger = logger

    @property
    def can_be_read(self) -> bool:
        """Whether there is a lease at all."""
        return self._lease is not None

    async def take(self, leadership: Leadership, dead_nonce: str | None, *, is_new: bool = False) -> int:
        """Take the lease for a leadership, or a candidacy for a new one; returns the term that it carries, or 0.

        Under `hold` a Redis that can't be asked takes nothing away: the compare-and-swap in Postgres decides alone, and
        safety is the same. Raises ServerUnreachableError under `stop`.
        """
        ttl_seconds = self._timing.candidacy_seconds if is_new else self._timing.ttl_seconds
        try:
            if self._lease is None:
                raise ServerUnreachableError("no lease")
            return await self._lease.take(
                leadership.nonce,
                ttl_seconds,
                leadership.instance_id,
                dead_token=dead_nonce,
                term=leadership.term,
                is_new=is_new,
            )
        except ServerUnreachableError as error:
            if self.outage is RedisOutage.STOP:
                raise
            self._logger.warning("standing without Redis: %s", error)
            return leadership.term

    async def renew(self, leadership: Leadership) -> Renewal:
        """Renew it; the answer as a value."""
        if self._lease is None:
            return Renewal.UNREADABLE
        try:
            answer = await self._lease.renew(leadership.nonce, self._timing.ttl_seconds, leadership.term)
        except SchedulerError as error:
            self.errors += 1
            self._logger.debug("renewal: %s", error)
            return Renewal.UNREADABLE
        return {True: Renewal.RENEWED, None: Renewal.ABSENT}.get(answer, Renewal.TAKEN)

    async def release(self, nonce: str) -> None:
        """Give it back; where that can't be said, it runs out by itself."""
        if self._lease is None:
            return
        try:
            await self._lease.release(nonce)
        except SchedulerError as error:
            self._logger.debug("the lease runs out by itself: %s", error)

    async def observe(self, watch: LeaseWatch) -> None:
        """Read it into a follower's watch."""
        if self._lease is None:
            watch.unreadable(boottime())
            return
        try:
            view = await self._lease.read()
        except SchedulerError:
            self.errors += 1
            watch.unreadable(boottime())
            return
        if view is None:
            watch.look(boottime(), None, 0, 0.0)
            return
        watch.look(boottime(), view.token, view.renewals, view.remaining_seconds)

    async def close(self) -> None:
        """Let go of the connection to Redis."""
        if self._lease is not None:
            await self._lease.close()

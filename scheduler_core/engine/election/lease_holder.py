"""The lease as the elector uses it: what an answer of Redis, or none, comes to under `redis_outage`.

Under `hold` Redis decides nothing, and so nobody waits for it longer than a well one takes: a candidate stands without
it, a leader's term goes on, whatever Redis says or does not say. A lease that somebody else holds and who does not lead
by Postgres is named in the log and outlived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from scheduler_core.domain.election.suspicion import Suspicion
from scheduler_core.domain.election.trust import LeaseWatch, RedisOutage, Renewal, StrangersLease, Timing
from scheduler_core.domain.errors import SchedulerError, ServerUnreachableError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.election.surroundings import THIS_MACHINE, Surroundings
from scheduler_core.ports.election import Leadership, Lease, LeaseName, LeaseView
from scheduler_core.runtime.task_ends import end_tasks

NAME_EVERY_SECONDS = 30.0
"""Between two warnings of the same stranger."""

T = TypeVar("T")


class LeaseHolder:
    """Parameters: lease, None for a process that takes part in no election."""

    def __init__(
        self,
        lease: Lease | None,
        timing: Timing,
        outage: RedisOutage,
        logger: LoggerLike,
        surroundings: Surroundings = THIS_MACHINE,
    ) -> None:
        self._boottime = surroundings.boottime
        self.errors = 0
        self._lease = lease
        self._timing = timing
        self.outage = outage
        self._logger = logger
        self._stranger = StrangersLease()
        self._refused: tuple[str | None, float] | None = None
        """Since when the lease has kept candidates from succeeding the leader of this nonce."""
        self._named: tuple[str, float] | None = None
        """Which stranger was named last, and when."""
        self._answers = True
        """Whether Redis did when it was asked last."""
        self._beat = 0
        self._renewing: asyncio.Task[Renewal] | None = None

    @property
    def can_be_read(self) -> bool:
        """Whether there is a lease at all."""
        return self._lease is not None

    def go_by(self, name: LeaseName) -> None:
        """Which lease is meant from now on."""
        if self._lease is not None:
            self._lease.go_by(name)

    # A candidate's.

    async def stand(self, candidacy: Leadership, dead_nonce: str | None) -> int:
        """Take the lease for a candidacy; returns the least number that its term may have, or 0: somebody else stands.

        Under `hold` a Redis that gives no answer at once, or is known to give none, takes nothing away: the
        compare-and-swap in Postgres decides alone, and safety is the same. Nor does a lease of a stranger's that goes
        on for longer than any candidate's. Raises ServerUnreachableError under `stop`.
        """
        if self._lease is None:
            return candidacy.term
        if not self._answers and self.outage is RedisOutage.HOLD:
            self._logger.warning("standing without Redis, which has not answered of late")
            return candidacy.term
        try:
            if term := await self._in_time(self._take(candidacy, dead_nonce, is_new=True)):
                self._refused = None
                return term
            return await self._in_time(self._stand_against(candidacy, dead_nonce))
        except ServerUnreachableError as error:
            self._answers = False
            if self.outage is RedisOutage.STOP:
                raise
            self._logger.warning("standing without Redis: %s", error)
            return candidacy.term

    async def _stand_against(self, candidacy: Leadership, dead_nonce: str | None) -> int:
        """Of a candidate whom the lease refuses: another candidate's ends soon, a stranger's may never."""
        now, view = self._boottime(), await self._read()
        if self._refused is None or self._refused[0] != dead_nonce:
            self._refused = (dead_nonce, now)
        refused_seconds = now - self._refused[1]
        if view is None:
            return 0
        self._stranger.look(now, view.token, view.beat)
        silence = self._timing.silence_seconds
        if (token := self._stranger.outlived(now, silence)) is not None:
            self._name(view, "it shows no sign of life and was taken over")
            return await self._take(candidacy, token, is_new=True)
        if refused_seconds < silence:
            return 0
        if self.outage is RedisOutage.STOP:
            self._name(view, "it is alive, and nothing fires here without the lease (redis_outage is `stop`)")
            return 0
        self._name(view, "it is alive: standing without the lease")
        return candidacy.term

    async def _take(self, leadership: Leadership, dead_token: str | None, *, is_new: bool) -> int:
        assert self._lease is not None
        return await self._lease.take(
            leadership.nonce,
            self._timing.candidacy_seconds if is_new else self._timing.ttl_seconds,
            leadership.instance_id,
            dead_token=dead_token,
            term=leadership.term,
            is_new=is_new,
            beat=self._next_beat(),
        )

    # A leader's.

    async def take(self, leadership: Leadership, dead_nonce: str | None) -> bool:
        """Have it again under a leadership that Postgres has confirmed; whether that may go on.

        Raises ServerUnreachableError under `stop`.
        """
        if self._lease is None:
            return True
        try:
            return bool(await self._in_time(self._take(leadership, dead_nonce, is_new=False))) or self._holds
        except ServerUnreachableError as error:
            if self.outage is RedisOutage.STOP:
                raise
            self._logger.debug("leading without the lease: %s", error)
            return True

    async def renew(self, leadership: Leadership) -> Renewal:
        """Renew it; the answer as a value.

        Under `hold` an answer that is not there at once is asked for again with the next beat: meanwhile there is none.
        """
        if self._lease is None:
            return Renewal.UNREADABLE
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(leadership), name="renew the lease")
        await asyncio.wait([self._renewing], timeout=self._patience_seconds)
        if not self._renewing.done():
            return Renewal.UNREADABLE
        renewing, self._renewing = self._renewing, None
        return renewing.result()

    async def _renew(self, leadership: Leadership) -> Renewal:
        assert self._lease is not None
        try:
            answer = await self._lease.renew(
                leadership.nonce, self._timing.ttl_seconds, leadership.term, self._next_beat()
            )
            self._answers = True
            if answer is False:
                return await self._renew_against(leadership)
        except SchedulerError as error:
            self.errors += 1
            self._answers = False
            self._logger.debug("renewal: %s", error)
            return Renewal.UNREADABLE
        return Renewal.RENEWED if answer else Renewal.ABSENT

    async def _renew_against(self, leadership: Leadership) -> Renewal:
        """The lease is another's. A candidate's ends, or the row will say that it leads; a stranger's is outlived."""
        view, now = await self._read(), self._boottime()
        if view is None or view.token == leadership.nonce:
            return Renewal.ABSENT
        self._stranger.look(now, view.token, view.beat)
        token = self._stranger.outlived(now, self._timing.candidacy_seconds)
        if token is not None and self._holds:
            self._name(view, "it shows no sign of life and was taken over")
            return Renewal.RENEWED if await self._take(leadership, token, is_new=False) else Renewal.TAKEN
        if self._holds:
            self._name(view, "Postgres confirms the term of this replica, which goes on")
        return Renewal.TAKEN

    async def release(self, nonce: str) -> None:
        """Give it back; where that can't be said, it runs out by itself."""
        if self._lease is None:
            return
        await self.renew_no_more()
        try:
            await self._in_time(self._lease.release(nonce))
        except SchedulerError as error:
            self._logger.debug("the lease runs out by itself: %s", error)

    # A follower's.

    async def observe(self, watch: LeaseWatch, suspicion: Suspicion, nonce: str | None, *, witnessed: bool) -> None:
        """Read it into a follower's views of the leader of this nonce.

        Parameters: witnessed, whether Postgres tells of that leader's death too: then a lease under another token
        says nothing of it.
        """
        asked_at = self._boottime()
        if self._lease is None:
            watch.unreadable(asked_at)
            return
        try:
            view = await self._lease.read()
        except SchedulerError:
            self.errors += 1
            self._answers = False
            watch.unreadable(self._boottime())
            suspicion.blind()
            return
        self._answers = True
        now = self._boottime()
        if view is None:
            self._stranger.look(now, None)
            watch.look(now, None)
            suspicion.blind()
        elif view.token == nonce:
            self._stranger.look(now, None)
            watch.look(now, view.token, view.beat, view.age_seconds)
            suspicion.look(asked_at, now, view.beat, view.age_seconds)
        else:
            self._stranger.look(now, view.token, view.beat)
            suspicion.blind()
            if witnessed:
                watch.unreadable(now)
            else:
                watch.look(now, None)

    async def _read(self) -> LeaseView | None:
        assert self._lease is not None
        return await self._lease.read()

    async def close(self) -> None:
        """Let go of the connection to Redis."""
        await self.renew_no_more()
        if self._lease is not None:
            await self._lease.close()

    # Small words.

    @property
    def _holds(self) -> bool:
        return self.outage is RedisOutage.HOLD

    @property
    def _patience_seconds(self) -> float | None:
        """How long an answer is waited for; None: as long as the client waits."""
        return self._timing.redis_patience_seconds if self._holds else None

    async def _in_time(self, call: Awaitable[T]) -> T:
        """Raises ServerUnreachableError for an answer that does not come in time."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await call
        except TimeoutError as error:
            self._answers = False
            raise ServerUnreachableError(f"no answer within {self._patience_seconds} s") from error

    async def renew_no_more(self) -> None:
        """Give up a renewal that is still under way."""
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            await end_tasks(renewing)

    def _next_beat(self) -> int:
        self._beat += 1
        return self._beat

    def _name(self, view: LeaseView, what_follows: str) -> None:
        """Tell of a stranger, once in a while."""
        now = self._boottime()
        if self._named is not None and self._named[0] == view.token and now - self._named[1] < NAME_EVERY_SECONDS:
            return
        self._named = (view.token, now)
        self._logger.warning(
            "the lease in Redis is held by %r (token %.40r), who does not lead by this database: %s",
            view.instance_id or "nobody that says who",
            view.token,
            what_follows,
        )

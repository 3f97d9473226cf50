"""Leading while elected: claims in one task, recovery beside them, and maintenance now and then."""

from __future__ import annotations

import asyncio
import functools

from scheduler_core.domain.errors import NotLeaderError, SchedulerError
from scheduler_core.engine.election.elector import Elector
from scheduler_core.engine.election.reasons import CAN_NOT_CLAIM
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.fire.claiming import Claiming
from scheduler_core.engine.fire.recorder import Recorder
from scheduler_core.engine.fire.recovery import Recovery
from scheduler_core.engine.fire.start_timers import StartTimers
from scheduler_core.engine.remote.handing import Handing
from scheduler_core.engine.replica_context import ReplicaContext
from scheduler_core.engine.supervision import TaskGroup, keep_going
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.election import Leadership
from scheduler_core.runtime.task_ends import end_tasks

IDLE_SECONDS = 1.0
CLAIM_AGAIN_SECONDS = (0.05, 0.5)
"""After an error: the first pause, which doubles, and the longest."""
MAINTENANCE_SECONDS = 3600.0
MAINTENANCE_DELAY_SECONDS = 10.0
LAST_ADOPTION_SECONDS = 1.0
LAST_WORDS_SECONDS = 1.0
"""How long a resignation waits for what is handed back to be durable."""


class LeaderLoop:
    """Parameters: wake, ends its sleep; recovery_wake, has recovery look at once; tasks, what it starts beside."""

    def __init__(
        self,
        context: ReplicaContext,
        *,
        elector: Elector,
        trust: LeaderTrust,
        claiming: Claiming,
        recovery: Recovery,
        recovery_wake: Wake,
        timers: StartTimers,
        recorder: Recorder,
        remote: Handing,
        tasks: TaskGroup,
    ) -> None:
        self.wake = Wake()
        self._context = context
        self._elector = elector
        self._trust = trust
        self._claiming = claiming
        self._recovery = recovery
        self._recovery_wake = recovery_wake
        self._timers = timers
        self._recorder = recorder
        self._remote = remote
        self._tasks = tasks
        self._is_stopping = False

    async def work(self) -> None:
        """Lead whenever this replica is elected, for ever."""
        while not self._is_stopping:
            leadership = self._trust.leadership()
            if leadership is None:
                await self.wake.sleep(IDLE_SECONDS)
                continue
            over = asyncio.Event()
            recover = functools.partial(self._recover, leadership, over)
            recovering = asyncio.create_task(
                keep_going(recover, "scheduler recovery", self._context.logger), name="scheduler recovery"
            )
            try:
                await self._lead(leadership)
            finally:
                over.set()
                await self._end_recovery(recovering)

    async def resign(self, reason: str, *, for_good: bool = False, preferred_successor: str | None = None) -> None:
        """Give leadership up for another replica; harmless for one that does not lead.

        What has not begun is handed back before the term ends, so that the successor starts it at once.
        Parameters: for_good, whether this replica stands no more; else it only leaves a TTL to the others;
        preferred_successor, the instance_id of the replica that is to lead next.
        """
        if for_good:
            self._is_stopping = True
            self._elector.retire()
        if self._trust.leadership() is None:
            return
        self.hand_back()
        await self._recorder.flush(timeout_seconds=LAST_WORDS_SECONDS)
        try:
            await self._elector.resign(reason, preferred_successor)
        except (SchedulerError, TimeoutError) as error:
            self._context.logger.warning("resigned without telling anybody; the lease's TTL tells: %s", error)
        # What the claim in flight brought along after the first hand-back.
        self.hand_back()
        await self._recorder.flush(timeout_seconds=LAST_WORDS_SECONDS)

    def hand_back(self) -> None:
        """Give back what has not begun, and what waits for its next attempt."""
        self._timers.hand_back()
        self._remote.hand_back()
        self._trust.lost.set()

    def leadership_changed(self, leadership: Leadership | None, reason: str) -> None:
        """The elector says so, by way of the scheduler's own loop."""
        if leadership is None:
            self._context.logger.info("leading no more: %s", reason)
            self.hand_back()
        else:
            self._context.counters.leaderships[reason] += 1
            self._trust.lost.clear()
        self.wake.wake()

    # One leadership.

    def _leads(self, leadership: Leadership) -> bool:
        return not self._is_stopping and self._trust.leadership() == leadership

    async def _lead(self, leadership: Leadership) -> None:
        guard, counters, logger = self._context.clock_guard, self._context.counters, self._context.logger
        clock = guard.clock
        self._claiming.begin_term()
        self._tasks.spawn(self._look_at_clock(leadership), "scheduler looks at the clock")
        # Not in the first moments of a term: those belong to what is due.
        maintained_at = clock.monotonic() - MAINTENANCE_SECONDS + MAINTENANCE_DELAY_SECONDS
        claimed_at, pause_after_error = clock.monotonic(), CLAIM_AGAIN_SECONDS[0]
        while self._leads(leadership):
            try:
                # Days are dropped by the database's clock, and not by one that has jumped.
                if clock.monotonic() - maintained_at > MAINTENANCE_SECONDS and guard.jump is None:
                    maintained_at = clock.monotonic()
                    self._tasks.spawn(self._context.storage.maintain(), "scheduler maintenance")
                pause = await self._claiming.claim_due(leadership)
                claimed_at, pause_after_error = clock.monotonic(), CLAIM_AGAIN_SECONDS[0]
            except NotLeaderError as error:
                counters.refused += 1
                logger.warning("%s", error)
                # The elector finds the same at its next beat; claim nothing until it has.
                pause = self._context.timing.beat_every_seconds
            except SchedulerError as error:
                counters.claim_errors += 1
                logger.warning("claiming pauses: %s", error)
                pause, pause_after_error = pause_after_error, min(pause_after_error * 2, CLAIM_AGAIN_SECONDS[1])
                if clock.monotonic() - claimed_at > self._context.timing.ttl_seconds:
                    # Whoever leads and fires nothing keeps the seat from those who could: the control session may be
                    # well while every session of the pool leads to a server that is the primary no more.
                    await self.resign(CAN_NOT_CLAIM)
            await self.wake.sleep(pause)

    async def _look_at_clock(self, leadership: Leadership) -> None:
        """Store at once what a new leader plans by."""
        try:
            await self._context.clock_guard.look(leadership)
        except SchedulerError as error:
            self._context.logger.debug("the clock is looked at again in a second: %s", error)

    async def _recover(self, leadership: Leadership, over: asyncio.Event) -> None:
        """As long as this leads, whatever happens meanwhile: a trust window that lapses for a moment ends neither."""
        while not over.is_set():
            successor = await self._recovery.work(leadership, over)
            if successor is None:
                continue
            self._context.logger.info("replica %s can do what this one can't: %s", successor.instance_id, successor.why)
            await self.resign(successor.why, preferred_successor=successor.instance_id)

    async def _end_recovery(self, recovering: asyncio.Task[None]) -> None:
        """Let an adoption that is under way end, and give back what it brings: else it would wait for a TTL."""
        self._recovery_wake.wake()
        try:
            await asyncio.wait({recovering}, timeout=LAST_ADOPTION_SECONDS)
        finally:
            await end_tasks(recovering)
        if self._trust.leadership() is None:
            self.hand_back()

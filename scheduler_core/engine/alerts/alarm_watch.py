"""Watching for alarms, on every replica, in a thread of its own.

Whoever leads, and whether anybody does, is of no concern here: every replica looks, and what one of them finds first
counts. The thread has its own event loop and its own connections, so that neither a callback that blocks the
scheduler's loop hides an alarm, nor a slow receiver ever keeps a fire waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from scheduler_core.domain.alerts.alarm import Changes, Event
from scheduler_core.domain.alerts.decision import decide, without_lateness
from scheduler_core.domain.clock import CLOCK_JUMP_LIMIT_SECONDS
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.alerts.notifier import Notifier
from scheduler_core.engine.alerts.webhook_client import Webhook
from scheduler_core.engine.clock_guard import ClockGuard
from scheduler_core.engine.supervision import keep_going
from scheduler_core.ports.alerts import Alarms, Notifications
from scheduler_core.ports.clock import DatabaseTime
from scheduler_core.runtime.loop_thread import LoopThread

TIDY_SECONDS = 60.0
STOP_SECONDS = 5.0
FRESH_SHARE = 0.8
"""Of the interval: whoever comes sooner after another's look has nothing to add."""


class Connections(Protocol):
    """What the stores are opened on."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AlarmStores:
    """What the watch reads and writes, and what it closes in the end."""

    alarms: Alarms
    notifications: Notifications
    clock: DatabaseTime
    connections: Connections


class AlarmWatch:
    """Raises and closes alarms, and delivers what there is to tell.

    Parameters: open_stores, called in the watch's thread, because connections belong to an event loop; webhook, None:
    nobody is told by this replica; interval_seconds, between two looks; overdue_seconds, how late a job is that is
    overdue; clock_jump_limit_seconds, beyond which a jump of the database's clock makes no job late.
    """

    def __init__(
        self,
        open_stores: Callable[[], AlarmStores],
        *,
        webhook: Webhook | None,
        interval_seconds: float,
        overdue_seconds: float,
        clock_jump_limit_seconds: float = CLOCK_JUMP_LIMIT_SECONDS,
        logger: LoggerLike,
    ) -> None:
        self._open_stores = open_stores
        self._webhook = webhook
        self._interval_seconds = interval_seconds
        self._overdue_seconds = overdue_seconds
        self._clock_jump_limit_seconds = clock_jump_limit_seconds
        self._logger = logger
        self._thread: LoopThread | None = None
        self._stop = asyncio.Event()
        self._queued = asyncio.Event()
        self._is_blind = False

    def start(self) -> None:
        """Begin to watch; harmless where it has begun."""
        if self._thread is None:
            self._stop, self._queued = asyncio.Event(), asyncio.Event()
            self._thread = LoopThread(self._main, name="scheduler-alarms", logger=self._logger, ended=self._ended)
            self._thread.start()

    async def stop(self) -> None:
        """Stop watching. A message that is being sent is left to another replica."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.post(self._stop.set)
        await thread.join(STOP_SECONDS)

    # The watch's thread.

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            self._logger.error("the watch for alarms ended: %r", error)

    async def _main(self) -> None:
        stores = self._open_stores()
        work = [("scheduler alarms", lambda: self._watch(stores))]
        if self._webhook is not None:
            notifier = Notifier(stores.notifications, self._webhook, self._logger)
            work.append(("scheduler notifications", lambda: self._deliver(notifier)))
        tasks = [asyncio.create_task(keep_going(each, name, self._logger), name=name) for name, each in work]
        try:
            await self._stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=STOP_SECONDS / 2)
            if self._webhook is not None:
                await self._webhook.close()
            await stores.connections.close()

    async def _watch(self, stores: AlarmStores) -> None:
        alarms = stores.alarms
        guard = ClockGuard(stores.clock, "", limit_seconds=self._clock_jump_limit_seconds, logger=None)
        tidied_at, fresh_seconds = -TIDY_SECONDS, FRESH_SHARE * self._interval_seconds
        again = False
        while True:
            try:
                again = await self._look(alarms, guard, fresh_seconds=0.0 if again else fresh_seconds)
                if (now := asyncio.get_running_loop().time()) - tidied_at >= TIDY_SECONDS:
                    tidied_at = now
                    await alarms.forget_old()
                self._see()
            except SchedulerError as error:
                self._be_blind(error)
                again = False
            if not again:
                # Not all replicas at the same moment.
                await asyncio.sleep(self._interval_seconds * random.uniform(0.9, 1.1))

    async def _look(self, alarms: Alarms, guard: ClockGuard, fresh_seconds: float) -> bool:
        """Look once; True if there is more to be looked at at once."""
        look = await alarms.look(overdue_seconds=self._overdue_seconds, fresh_seconds=fresh_seconds)
        if look is None:
            return False
        await guard.look(None)
        changes = decide(look.facts if guard.jump is None else without_lateness(look.facts))
        stored = await alarms.store(look, changes)
        if not stored.applied:
            return False
        self._tell(changes)
        if stored.dropped:
            self._logger.error("%d notifications found no room: too many wait to be delivered", stored.dropped)
        if stored.queued:
            self._queued.set()
        return look.has_more

    def _tell(self, changes: Changes) -> None:
        for notification in changes.notifications:
            calm = notification.event in (Event.RECOVERY, Event.TAKEOVER)
            (self._logger.info if calm else self._logger.warning)("alarms: %s", notification.text)
        if changes.without_room:
            self._logger.error("alarms: %d more found no room: too many are open", changes.without_room)

    async def _deliver(self, notifier: Notifier) -> None:
        tidied_at = -TIDY_SECONDS
        while True:
            self._queued.clear()
            try:
                if (now := asyncio.get_running_loop().time()) - tidied_at >= TIDY_SECONDS:
                    tidied_at = now
                    await notifier.tidy()
                pause = await notifier.deliver()
                self._see()
            except SchedulerError as error:
                self._be_blind(error)
                pause = None
            # What another replica queued, or left behind, is looked for once per interval.
            wait = self._interval_seconds if pause is None else min(pause, self._interval_seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._queued.wait()

    def _see(self) -> None:
        if self._is_blind:
            self._is_blind = False
            self._logger.info("alarms are watched again")

    def _be_blind(self, error: SchedulerError) -> None:
        """Say once that nobody can look from here: without Postgres nobody knows what is overdue."""
        (self._logger.debug if self._is_blind else self._logger.warning)("alarms are not watched: %s", error)
        self._is_blind = True

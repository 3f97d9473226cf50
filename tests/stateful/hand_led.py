"""A replica whose looks are made by hand: the real parts on a real Postgres, but for its election and its time.

Its clock is a `VirtualClock` that shows what the database's does, so that timers, retries and limits wait for the test
to move it. A callback is at work until the test ends it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from unittest.mock import patch
from uuid import UUID

import psycopg

from scheduler_core import Container, RunContext
from scheduler_core.engine import running_replica
from scheduler_core.engine.clock import SYSTEM_CLOCK
from scheduler_core.engine.fire.recovery import BATCH
from scheduler_core.engine.fire.retry import Retry
from scheduler_core.engine.fire.start_timers import StartTimers
from scheduler_core.engine.running_replica import RunningReplica
from scheduler_core.ports.election import Leadership
from scheduler_core.storage.postgres.database import Database, Row
from scheduler_core.testing import VirtualClock

NONCE = "n" * 32
QUIET_PASSES = 20
MAX_DELIVERIES = 3

_at_work: dict[UUID, asyncio.Future[None]] = {}
"""The callbacks that are at work, by the run that each was called for."""


class CallbackFailedError(Exception):
    """The test has said so."""


async def work(ctx: RunContext) -> None:
    """What the machine's jobs call: it lasts until `end_call`."""
    ended = _at_work[ctx.run_id] = asyncio.get_running_loop().create_future()
    try:
        await ended
    finally:
        del _at_work[ctx.run_id]


CALLBACK = f"{__name__}:work"


class HandClock(VirtualClock):
    """The database's time, moved by hand; beside it this machine's own clocks, which measure and decide nothing."""

    machine = SYSTEM_CLOCK


class StandingGuard:
    """The guard at a clock that is always believed."""

    jump = None

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    def admits(self, *_: object) -> bool:
        return True

    async def look(self, _leadership: Leadership | None) -> None: ...


class HandTimers(StartTimers):
    """Timers that wait for the virtual clock."""

    def _set_timer(self, instant: datetime) -> None:
        self._timers[instant] = cast(asyncio.TimerHandle, asyncio.create_task(self._wait_for(instant)))

    async def _wait_for(self, instant: datetime) -> None:
        await cast(VirtualClock, self._clock).sleep_until(instant)
        self._fire_due(instant)


class WatchedDatabase:
    """Knows whether a statement of a database is under way."""

    def __init__(self, database: Database) -> None:
        self._fetch = database.fetch
        self._under_way = 0
        self.count = 0
        self._answered = asyncio.Event()
        database.fetch = self.fetch  # type: ignore[method-assign]

    async def fetch(self, template: str, parameters: Mapping[str, Any] | None = None, **given: Any) -> Sequence[Row]:
        self._under_way += 1
        self.count += 1
        try:
            return await self._fetch(template, parameters, **given)
        finally:
            self._under_way -= 1
            self._answered.set()

    async def at_rest(self) -> None:
        """Wait until everybody waits for something else than Postgres."""
        passes = 0
        while passes < QUIET_PASSES:
            before = self.count
            await asyncio.sleep(0)
            if self._under_way:
                self._answered.clear()
                await self._answered.wait()
            passes = 0 if self._under_way or self.count != before else passes + 1


class HandLed:
    """The one replica that there is, and whoever leads after it died.

    Parameters: container, on the database; sql, a session on it; watched, the engine's statements there.
    """

    def __init__(self, container: Container, sql: psycopg.Connection[Any], watched: WatchedDatabase) -> None:
        self._container = container
        self._sql = sql
        self._watched = watched
        self._term = 0
        self._dead: list[str] = []

    # Its life.

    async def lead(self, clock: VirtualClock) -> None:
        """Have a replica lead in the next term."""
        self.clock = clock
        clock.attach()
        self._term += 1
        self._container._scheduler = None
        scheduler = self._container.get_scheduler()
        self.leadership = Leadership(self._term, NONCE, scheduler.instance.instance_id)
        self._sql.execute(
            "UPDATE scheduler.leader SET term = %s, nonce = %s, instance_id = %s, acquired_at = '2000-01-01'",
            [self._term, NONCE, self.leadership.instance_id],
        )
        with (
            patch.object(running_replica, "ClockGuard", lambda *_, **__: StandingGuard(clock)),
            patch.object(running_replica, "StartTimers", HandTimers),
            patch.object(running_replica, "Retry", lambda: Retry(0.0)),
        ):
            self._replica = RunningReplica(scheduler._parts)
        self._replica.recorder.start()
        self._replica.trust.witness_life(held=True)
        self._replica.trust.seat(self.leadership, math.inf)

    async def die(self) -> None:
        """End as a process does that is killed: nothing of what it knows is written down any more."""
        replica = self._replica
        self._dead.append(self.leadership.instance_id)
        replica.trust.drop()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        with patch.object(replica.recorder, "record_soon", lambda *_: None):
            for _ in range(3):
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        _at_work.clear()

    # What a leader does all the time, once.

    async def look(self) -> None:
        """Claim what is due, adopt what waits, and end what the dead had begun."""
        self._begin_step()
        replica = self._replica
        replica.claiming.begin_term()
        await replica.claiming.claim_due(self.leadership)
        recovery = replica.leader_loop._recovery
        owners = await recovery._survey()
        dead = [owner.instance_id for owner in owners if owner.instance_id in self._dead]
        if dead:
            runs = self._container.get_storage().runs
            await runs.reap(self.leadership, dead, max_deliveries=MAX_DELIVERIES, limit=BATCH)
            await recovery._survey()
        await recovery._adopt(self.leadership)
        await self.at_rest()

    async def mark_running(self) -> None:
        """Write down what has lasted for a while."""
        self._begin_step()
        for active in self._replica.in_flight.calling():
            if not active.is_durable:
                active.is_durable = True
                self._replica.recorder.record_soon(active.as_running())
        await self.at_rest()

    async def look_for_cancels(self) -> None:
        """End what somebody asked to be cancelled."""
        self._begin_step()
        requests = self._container.get_storage().requests
        for run_id in await requests.cancelled_among(self._replica.in_flight.run_ids()):
            self._replica._cancels.cancel(run_id)
        await self.at_rest()

    def hear(self, job_id: str) -> None:
        """A hint that a job has changed; one may get lost."""
        self._replica.nudged(job_id)

    # Its callbacks.

    @property
    def calls(self) -> list[UUID]:
        """The runs whose callback is at work."""
        return list(_at_work)

    async def end_call(self, run_id: UUID, error: Exception | None) -> None:
        """Have a callback return, or raise."""
        self._begin_step()
        if error is None:
            _at_work[run_id].set_result(None)
        else:
            _at_work[run_id].set_exception(error)
        await self.at_rest()

    # Its time.

    async def let_pass(self, now: datetime) -> None:
        """The clock shows `now`: what waited for it goes on."""
        self._begin_step()
        self.clock.set(now)
        self.clock.strike()
        await self.at_rest()

    async def at_rest(self) -> None:
        """Wait until everything waits for a hand."""
        await self._watched.at_rest()

    def _begin_step(self) -> None:
        self._replica.trust.extend(math.inf)

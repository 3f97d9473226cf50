"""The stage of a drill: everything that faults act on, and what is waited for on it. Each wait has a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.drill.clock import DrillClock
from scheduler_core.drill.commands import Answer, Commands
from scheduler_core.drill.evidence import DrillJob
from scheduler_core.drill.jobs import JOB_KINDS, TICKS
from scheduler_core.drill.proxy_thread import ProxyThread
from scheduler_core.drill.replicas import Replica, Replicas
from scheduler_core.drill.schedule import DrillPlan
from scheduler_core.drill.servers import Servers

POLL_SECONDS = 0.02
ANSWER_POLL_SECONDS = 0.002
FIRES_WITHIN_SECONDS = 2.0
"""A leader that fires has begun a run within the last so many seconds: every 7 ms one is due."""

CLOCK_TROUBLE = timedelta(hours=1)

JOB_IDS = tuple(kind.job_id for kind in JOB_KINDS)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leader:
    """The leader as Postgres knows it, and our child that it is."""

    term: int
    instance_id: str
    replica: Replica

    def __str__(self) -> str:
        return f"leader, pid {self.replica.pid}"


@dataclass(frozen=True, slots=True)
class FirstFire:
    """The first run that began after a fault."""

    at: datetime
    term: int


@dataclass(slots=True)
class Stage:
    """What faults act on: servers, replicas and the clock, and every wait on them."""

    plan: DrillPlan
    servers: Servers
    replicas: Replicas
    clock: DrillClock
    commands: Commands
    proxies: ProxyThread | None
    jobs: tuple[DrillJob, ...]

    async def leader(self) -> Leader | None:
        """Who leads now, if it is one of ours."""
        row = await self.servers.reader.leader()
        replica = None if row is None else self.replicas.of_pid(row.pid)
        return None if row is None or replica is None else Leader(row.term, row.instance_id, replica)

    async def come_back(self, within_seconds: float) -> list[Replica]:
        """Wait until every living replica takes part; returns those that don't when time is up."""

        async def ask() -> bool | None:
            return not await self.replicas.absent() or None

        if await poll(ask, within_seconds):
            return []
        try:
            return await self.replicas.absent()
        except SchedulerError:
            return []

    async def settled_leader(self, within_seconds: float) -> Leader | None:
        """The leader once everybody takes part, it fires, and Postgres has been up for longer than a TTL.

        A witness that falls soon after a start of Postgres is no evidence of a death: a takeover then waits for the
        lease, and its time would be the last fault's, not the next one's.
        """

        async def ask() -> Leader | None:
            leader = await self.leader()
            if leader is None or leader.replica.leaving or await self.replicas.absent():
                return None
            if await self.servers.reader.uptime_seconds() <= self.plan.lease_ttl_seconds + 0.5:
                return None
            await self.clock.read(self.servers.reader)
            lately = self.clock.now() - timedelta(seconds=FIRES_WITHIN_SECONDS)
            found = await self.servers.reader.first_start(TICKS, since=lately, after=lately, above_term=leader.term - 1)
            return leader if found is not None else None

        return await poll(ask, within_seconds)

    async def first_fire(self, after: datetime, above_term: int, within_seconds: float) -> FirstFire | None:
        """The first run that began after an instant in a term above another; None if there is none in time.

        What is measured is the start in the record, not the moment at which we hear of it.
        """
        since = after - timedelta(seconds=FIRES_WITHIN_SECONDS)

        async def ask() -> FirstFire | None:
            row = await self.servers.reader.first_start(JOB_IDS, since=since, after=after, above_term=above_term)
            # A replica that joined while the database's clock was hours ahead believed in it.
            if row is None or row.started_at > self.clock.now() + CLOCK_TROUBLE:
                return None
            return FirstFire(row.started_at, row.term)

        return await poll(ask, within_seconds)

    async def accounted(self, until: datetime, within_seconds: float) -> bool:
        """Wait until every cursor has passed an instant and every run scheduled before it has ended."""

        async def ask() -> bool | None:
            return await self.servers.reader.unsettled(until) == (0, 0) or None

        return bool(await poll(ask, within_seconds, every_seconds=0.2))

    async def answer(self, command: str, within_seconds: float) -> Answer | None:
        """Who obeyed a command; None, and the command is withdrawn, if nobody did in time."""

        async def ask() -> Answer | None:
            return self.commands.answer(command)

        found = await poll(ask, within_seconds, every_seconds=ANSWER_POLL_SECONDS)
        if found is None:
            self.commands.withdraw(command)
        return found


async def poll(
    ask: Callable[[], Awaitable[T | None]], within_seconds: float, every_seconds: float = POLL_SECONDS
) -> T | None:
    """The first answer that is not None; None when time is up. A server that is down has not answered yet."""
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                answer = await ask()
            if answer is not None:
                return answer
        except (SchedulerError, TimeoutError):
            pass
        if time.monotonic() >= deadline:
            return None
        await asyncio.sleep(every_seconds)

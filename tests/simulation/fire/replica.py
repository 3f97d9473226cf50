"""One simulated replica: the whole real scheduler in a simulated process; and the process that operators act from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.engine.election.elector import Elector
from scheduler_core.engine.operations.jobs import Operations
from scheduler_core.engine.operations.runs import RunOperations
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.election import Instance
from scheduler_core.ports.storage import Storage
from scheduler_core.storage.fire.requests import RequestStore
from scheduler_core.storage.fire.runs import RunStore
from scheduler_core.storage.jobs.calendars import CalendarStore
from scheduler_core.storage.jobs.definitions import JobStore
from scheduler_core.storage.postgres.clock import ClockStore
from scheduler_core.storage.postgres.partitions import Partitions

from ..machine import SimulatedMachine
from ..network import Link
from ..redis_server import simulated_lease
from ..timeline import Host, VirtualLoop
from .jobs import jobs
from .sessions import SteppedDatabase, SteppedSession

if TYPE_CHECKING:
    from .world import FireWorld

START_AGAIN_SECONDS = 0.2

FORESEEN = (
    "waits:",
    "waits for Postgres",
    "could not be written before the stop",
    "is gone: its outcome is not recorded",
    "the database's clock is off",
    "planning has stopped",
)
"""Errors in the log that a fault brings along."""


class Log:
    """Says nothing but what nobody has foreseen: such an error is a finding."""

    def __init__(self, world: FireWorld, host: Host) -> None:
        self._world, self._host = world, host

    def debug(self, *_: object) -> None: ...

    info = warning = debug

    def error(self, text: str, *arguments: object) -> None:
        said = text % arguments
        if any(word in said for word in FORESEEN):
            self._world.checks.say(f"{self._host.name}: {said[:60]}")
        else:
            self._world.timeline.failed(f"{self._host.name}: {said}")

    exception = error


class DeafListener:
    """Hears of no offer: these replicas execute what they lead."""

    async def listen(self, heard: Callable[[], None]) -> None:
        await asyncio.Event().wait()


def storage_of(world: FireWorld, host: Host, postgres: Link, redis: Link) -> Storage:
    """As the container makes it, of stepped sessions."""
    timing, server = world.timing, world.postgres
    database = SteppedDatabase(server, postgres, host.name)
    partitions = Partitions(database)

    async def maintain() -> None:
        """The days are there."""

    return Storage(
        jobs=JobStore(database, partitions),
        runs=RunStore(database, partitions, timeout_seconds=timing.statement_timeout_seconds),
        requests=RequestStore(database, partitions),
        calendars=CalendarStore(database),
        clock=ClockStore(database),
        offers=DeafListener(),
        open_control=lambda: SteppedSession(server, postgres, host.name, ttl_seconds=timing.ttl_seconds),
        open_lease=lambda: simulated_lease(world.redis, redis, timeout_seconds=timing.redis_timeout_seconds),
        maintain=maintain,
    )


class FireReplica:
    """Parameters: number, how many processes have begun before it."""

    def __init__(self, world: FireWorld, name: str, number: int) -> None:
        self.world = world
        self.name = name
        self.host = Host(f"{name}-{number}")
        self.instance = Instance(self.host.name, name, name, number, "0", eligible=True)
        self.machine = SimulatedMachine(world.timeline, self.host)
        self.postgres = Link(world.timeline)
        self.redis = Link(world.timeline)
        self.postgres_troubled_at = 0.0
        self.scheduler: BaseScheduler | None = None
        self.loop = VirtualLoop(world.timeline, self.host)
        self.loop.create_task(self._live())

    @property
    def elector(self) -> Elector | None:
        running = None if self.scheduler is None else self.scheduler._running
        return None if running is None else running.elector

    @property
    def leads(self) -> bool:
        """Whether it may start something at this instant, and is there to do it."""
        now, scheduler = self.world.timeline.now, self.scheduler
        is_there = not self.host.is_dead and self.host.stopped_until <= now and self.loop.blocked_until <= now
        return is_there and scheduler is not None and scheduler.leadership is not None

    async def _live(self) -> None:
        world = self.world
        self.scheduler = scheduler = BaseScheduler(
            storage=storage_of(world, self.host, self.postgres, self.redis),
            instance=self.instance,
            timing=world.timing,
            redis_outage=world.outage,
            drain_timeout_seconds=5.0,
            application="simulated",
            logger=cast(Any, Log(world, self.host)),
            surroundings=self.machine,
        )
        await scheduler.add_jobs(jobs())
        while True:
            with contextlib.suppress(SchedulerError, TimeoutError):
                await scheduler.start()
                break
            await asyncio.sleep(START_AGAIN_SECONDS)
        await asyncio.Event().wait()


class Operator:
    """A process that is no replica, and its verbs."""

    def __init__(self, world: FireWorld) -> None:
        self.name = "operator"
        self.host = Host("operator")
        self.machine = SimulatedMachine(world.timeline, self.host)
        self.postgres = Link(world.timeline)
        self.loop = VirtualLoop(world.timeline, self.host)
        storage = storage_of(world, self.host, self.postgres, Link(world.timeline))
        actor = Actor(Source.CLI, "operator")
        self.jobs = Operations(storage, "operator", actor, clock_jump_limit_seconds=300.0, machine=self.machine)
        self.runs = RunOperations(storage, "operator", clock_jump_limit_seconds=300.0, machine=self.machine)

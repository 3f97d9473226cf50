"""One simulated replica: the real election in a simulated process, and a scheduler's loop that starts runs under it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.jobs.abilities import Abilities
from scheduler_core.domain.runs.run import Run
from scheduler_core.engine.election.elector import Elector
from scheduler_core.engine.election.exchange import LoopInbox, LoopPulse, NoActiveRuns
from scheduler_core.engine.election.trust_window import LeaderTrust, Trust
from scheduler_core.ports.election import Instance, Leadership
from scheduler_core.ports.storage import Storage

from .machine import SimulatedMachine
from .network import Link
from .postgres_server import SimulatedSession
from .redis_server import simulated_lease
from .timeline import Host, VirtualLoop

if TYPE_CHECKING:
    from .world import World

START_EVERY_SECONDS = 0.02
PULSE_SECONDS = 0.125
START_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Start:
    """As much of a run as a trust window asks for."""

    term: int


class QuietLogger:
    """Says nothing but what nobody has foreseen: an error in the log is a finding."""

    def __init__(self, world: World, host: Host) -> None:
        self._world, self._host = world, host

    def debug(self, *_: object) -> None: ...

    info = warning = debug

    def error(self, text: str, *arguments: object) -> None:
        self._world.timeline.failed(f"{self._host.name}: {text % arguments}")

    exception = error


class WatchedTrust(LeaderTrust):
    """The real trust window, and each word of it is checked."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(replica.machine)
        self._replica = replica

    def _publish(self, trust: Trust) -> None:
        super()._publish(trust)
        self._replica.told(trust)

    def is_open(self) -> bool:
        """Whether this replica may start something; asked from outside, and so without a wait."""
        trust = self._trust
        return trust.leadership is not None and trust.holds_life and self._boottime() < trust.until


class Replica:
    """Parameters: number, how many processes have begun before it."""

    def __init__(self, world: World, name: str, number: int) -> None:
        self.world = world
        self.name = name
        self.host = Host(f"{name}-{number}")
        self.instance = Instance(self.host.name, name, name, number, "0", eligible=True)
        self.machine = SimulatedMachine(world.timeline, self.host)
        self.postgres = Link(world.timeline)
        self.redis = Link(world.timeline)
        self.postgres_troubled_at = 0.0
        """Until when its way to Postgres was no good, or it had to sit down anew."""
        self.trust = WatchedTrust(self)
        self.elector: Elector | None = None
        self.pulse: LoopPulse | None = None
        self.led_term: int | None = None
        """As the scheduler's loop was told."""
        self.loop = VirtualLoop(world.timeline, self.host)
        self.loop.create_task(self._live())

    @property
    def leads(self) -> bool:
        """Whether it may start something at this instant, and is there to do it."""
        now = self.world.timeline.now
        is_there = not self.host.is_dead and self.host.stopped_until <= now and self.loop.blocked_until <= now
        return is_there and self.trust.is_open()

    def told(self, trust: Trust) -> None:
        """Its elector has said something."""
        if not self.host.is_dead and not self.world.is_over:
            term = trust.leadership.term if trust.leadership else None
            stalled_seconds = self.pulse.stalled_seconds if self.pulse is not None else 0.0
            self.world.checks.published(
                self.host.name, term, trust.until - self.machine.boottime_at_zero, stalled_seconds=stalled_seconds
            )

    # The scheduler's loop.

    async def _live(self) -> None:
        logger = QuietLogger(self.world, self.host)
        timing = self.world.timing
        storage = cast(
            Storage,
            _ElectionStorage(
                lambda: SimulatedSession(
                    self.world.postgres, self.postgres, self.host.name, ttl_seconds=timing.ttl_seconds
                ),
                lambda: simulated_lease(self.world.redis, self.redis, timeout_seconds=timing.redis_timeout_seconds),
            ),
        )
        while True:
            self.pulse = pulse = LoopPulse(NoActiveRuns(), Abilities(), self.machine)
            self.elector = Elector(
                instance=self.instance,
                timing=timing,
                storage=storage,
                trust=self.trust,
                pulse=pulse,
                listener=LoopInbox(self),
                redis_outage=self.world.outage,
                logger=cast(Any, logger),
                surroundings=self.machine,
            )
            try:
                await self.elector.start()
                break
            except SchedulerError:
                await asyncio.sleep(START_AGAIN_SECONDS)
        self._start()
        while True:
            pulse.beat()
            await asyncio.sleep(PULSE_SECONDS)

    def _start(self) -> None:
        """As a timer of a run goes off: that of one which was claimed in the term that one was told last."""
        asyncio.get_running_loop().call_later(START_EVERY_SECONDS, self._start)
        term, world = self.led_term, self.world
        if term is None or world.is_over:
            return
        if self.trust.allows(cast(Run, Start(term))):
            is_well = self.postgres_troubled_at < world.timeline.now - world.timing.ttl_seconds
            world.checks.started(self.host.name, term, is_well=is_well)
        else:
            world.checks.tally.refused_starts += 1

    def leadership_changed(self, leadership: Leadership | None, reason: str) -> None:
        """The elector says so, in the scheduler's loop."""
        self.led_term = leadership.term if leadership else None
        self.world.checks.say(f"{self.host.name} is told: {self.led_term} ({reason})")

    def nudged(self, message: str) -> None:
        """Nobody notifies."""


class _ElectionStorage:
    def __init__(self, open_control: Any, open_lease: Any) -> None:
        self.open_control, self.open_lease = open_control, open_lease

"""One seed's world: two or three replicas, the servers, and what goes wrong among them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from scheduler_core.domain.election.suspicion import LEAST_SECONDS, LOOKS
from scheduler_core.domain.election.trust import RedisOutage, Timing
from scheduler_core.drill.trace import Line

from .checks import Checks, Tally
from .faults import FAULTS, ON_BOTH, ON_POSTGRES, ON_REDIS, Fault
from .postgres_server import PostgresServer
from .redis_server import RedisServer
from .replica import Replica
from .timeline import StuckError, Timeline

NAMES = ("a", "b", "c")
TTLS_SECONDS = (1.0, 3.0, 3.0)
STALLS_OF_TTL = (1.0, 2.0, 3.3)
EPISODES = 4
AT_ONCE = (1, 2, 2, 2, 3, 3)
"""How many faults at a time: mostly two or three."""

CONNECT_SECONDS = 2 * 3.0
"""Two sessions that are given up, each after its time-out: the session, and the look whether there is a pooler."""

CALM_SECONDS = CONNECT_SECONDS + 2.0
"""After so long, and a TTL, every replica is well that can be."""

AT_ONCE_SECONDS = 0.15
"""A takeover that waits for nothing: a death is noticed, two servers are asked some ten times."""

LOOK_SECONDS = 0.01


def healed_within_seconds(timing: Timing) -> float:
    """How soon after the last fault's end somebody leads, by arithmetic: what a replica may be waiting for, added up.

    A connection that is being given up, and the pause before the next; a server that has to be up for a TTL for its
    witnesses to count; a silence; a leader's own abstention; what a candidate leaves in Redis.
    """
    ttl = timing.ttl_seconds
    return CONNECT_SECONDS + 1.2 + ttl + timing.silence_seconds + ttl + timing.candidacy_seconds + 1.0


def successor_within_seconds(name: str, span_seconds: float, timing: Timing, *, is_first: bool) -> float | None:
    """How soon after a fault of the leader's another has its seat, by arithmetic; None: it may keep it.

    Parameters: is_first, whether no follower has measured long pauses yet.
    """
    if name == "kill":
        return AT_ONCE_SECONDS
    if name in ("resign", "leave"):
        # Others let the preferred successor go first, also one that is not there.
        return timing.candidacy_seconds + AT_ONCE_SECONDS
    if name in ("stop", "stall", "cut_off"):
        patience = min(LEAST_SECONDS, timing.silence_seconds) if is_first else timing.silence_seconds
        # The last beat was not yet seen, and so many looks have to show the same one.
        seconds = patience + (LOOKS + 1) * timing.beat_every_seconds + AT_ONCE_SECONDS
        return seconds if span_seconds > seconds else None
    return None


class Scene(Protocol):
    """What happens, told step by step."""

    def __call__(self, world: World, /) -> Coroutine[Any, Any, None]: ...


class World:
    """Parameters: seed, of everything that happens; faults, those that may."""

    def __init__(self, seed: int, faults: Mapping[str, Fault] = FAULTS, *, outage: RedisOutage | None = None) -> None:
        self.timeline = timeline = Timeline(seed)
        dice = timeline.random
        ttl_seconds = dice.choice(TTLS_SECONDS)
        self.timing = Timing(ttl_seconds, ttl_seconds * dice.choice(STALLS_OF_TTL))
        self.outage = outage or dice.choice((RedisOutage.HOLD, RedisOutage.HOLD, RedisOutage.HOLD, RedisOutage.STOP))
        self.checks = Checks(timeline, self.timing)
        self.lines: list[Line] = []
        """The trace, of a world that is."""
        timeline.failed = self.checks.fail
        self.postgres = PostgresServer(timeline, self.checks)
        self.redis = RedisServer(timeline)
        self.faults = faults
        self.replicas: list[Replica] = []
        self.is_over = False
        self.began_at = timeline.now
        self.digest = ""
        self._born = 0

    def be_traced(self) -> None:
        """Write down what happens from now on."""
        self.checks.lines = self.lines

    def living(self) -> list[Replica]:
        return [replica for replica in self.replicas if not replica.host.is_dead]

    def leader(self) -> Replica | None:
        """Who may start something at this instant."""
        return next((replica for replica in self.replicas if replica.leads), None)

    def be_born(self, name: str) -> None:
        """A process of this name begins, unless there is one."""
        if any(replica.name == name for replica in self.living()):
            return
        self._born += 1
        self.replicas.append(Replica(self, name, self._born))

    def kill(self, victim: Replica) -> None:
        if victim.host.is_dead:
            return
        victim.host.is_dead = True
        self.checks.gone(victim.host.name)
        name = victim.host.name
        victim.postgres.up.send(lambda: self.postgres.client_died(name))

    # What happens.

    def play(self, scene: Scene | None = None) -> Tally:
        """Let it happen: what the seed says, or a scene; raises ViolationError."""
        try:
            with _no_collector():
                self.timeline.run((scene or World._happen)(self), lambda: self.checks.broken is not None)
        except StuckError:
            self.checks.fail("L1: nobody has anything left to do")
        finally:
            self._end()
        if self.checks.broken is not None:
            raise self.checks.broken
        return self.checks.tally

    def _end(self) -> None:
        self.is_over = True
        self.digest = self.checks.digest()
        for replica in self.replicas:
            replica.postgres.is_over = replica.redis.is_over = True
        self.timeline.failed = lambda text: None
        self.timeline.dispose()

    async def begin(self, replicas: int = 3) -> None:
        """Until one of so many replicas leads."""
        for name in NAMES[:replicas]:
            self.be_born(name)
        await self.led()

    async def _happen(self) -> None:
        dice = self.timeline.random
        await self.begin(dice.choice((2, 3, 3)))
        for number in range(EPISODES):
            await asyncio.sleep(dice.uniform(0.2, 2.0))
            count = dice.choice(AT_ONCE)
            if count == 1:
                await self._take_the_time(dice.choice(list(self.faults)), is_first=number == 0)
                continue
            ends_at = self.timeline.now
            for _ in range(count):
                ends_at = max(ends_at, self.inject(dice.choice(list(self.faults))))
                await asyncio.sleep(dice.choice((0.0, 0.0, dice.uniform(0.0, 0.1), dice.uniform(0.0, 2.0))))
            await asyncio.sleep(max(0.0, ends_at - self.timeline.now))
            await self.led()

    async def _take_the_time(self, name: str, *, is_first: bool) -> None:
        """One fault alone, of a leader among replicas that are well: how long until there is another, by arithmetic."""
        await asyncio.sleep(1.0 if is_first else CALM_SECONDS + self.timing.ttl_seconds)
        victim, terms = self.leader(), self.checks.tally.terms
        if victim is None:
            self.checks.fail("L1: nobody leads, and nothing has failed for a while")
            return
        began = self.timeline.now
        ends_at = self.inject(name, victim)
        limit = successor_within_seconds(name, ends_at - began, self.timing, is_first=is_first)
        for _ in range(int((limit or 0.0) / LOOK_SECONDS)):
            if self.checks.tally.terms > terms:
                break
            await asyncio.sleep(LOOK_SECONDS)
        if self.checks.tally.terms > terms:
            self.checks.tally.takeovers.append((name, self.checks.terms[terms].claimed_at - began))
        elif limit is not None:
            self.checks.fail(f"L1: {limit:.2f} s after {name} nobody has succeeded {victim.host.name}")
        await asyncio.sleep(max(0.0, ends_at - self.timeline.now))
        await self.led()

    def inject(self, name: str, victim: Replica | None = None) -> float:
        """Let one fault happen; returns when it is over."""
        dice = self.timeline.random
        if victim is None:
            leader = self.leader()
            living = self.living()
            victim = leader if leader is not None and dice.random() < 0.7 else dice.choice(living) if living else None
        if victim is None:
            return self.timeline.now
        self.checks.tally.faults[name] += 1
        before = self.timeline.now
        seconds = self.faults[name](self, dice, victim)
        self.checks.say(f"FAULT {name} {victim.host.name} {seconds:.3f}")
        ends_at = before + seconds
        if name in ON_REDIS or name in ON_BOTH:
            self.checks.redis_troubled_at = max(self.checks.redis_troubled_at, ends_at)
        if name in ON_POSTGRES or name in ON_BOTH:
            for replica in self.replicas:
                replica.postgres_troubled_at = max(replica.postgres_troubled_at, ends_at)
        return ends_at

    async def led(self) -> None:
        """L1: somebody leads, soon enough after the last fault's end."""
        began, limit = self.timeline.now, healed_within_seconds(self.timing)
        while self.leader() is None:
            if self.timeline.now - began > limit:
                states = {replica.host.name: replica.elector and replica.elector.state for replica in self.living()}
                self.checks.fail(f"L1: nobody leads {limit:.1f} s after the last fault's end: {states}")
                return
            await asyncio.sleep(LOOK_SECONDS)
        waited = self.timeline.now - began
        self.checks.tally.longest_vacancy_seconds = max(self.checks.tally.longest_vacancy_seconds, waited)


@contextmanager
def _no_collector() -> Iterator[None]:
    """What lies about of killed processes is not taken apart in the middle: nobody knows when that would be."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

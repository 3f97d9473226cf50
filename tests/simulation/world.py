"""One seed's world: two or three replicas, the servers, and what goes wrong among them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from scheduler_core.domain.trust import RedisOutage, Timing

from .checks import Checks, Tally, Violation
from .faults import FAULTS, ON_BOTH, ON_POSTGRES, ON_REDIS, Fault
from .postgres_server import PostgresServer
from .redis_server import RedisServer
from .replica import Replica
from .timeline import Stuck, Timeline

TTLS_SECONDS = (1.0, 3.0, 3.0)
STALLS_OF_TTL = (1.0, 2.0, 3.3)
EPISODES = 4
AT_ONCE = (1, 2, 2, 2, 3, 3)
"""How many faults at a time: mostly two or three."""

CONNECT_SECONDS = 2 * 3.0
"""Two sessions that are given up, each after its time-out: the session, and the look whether there is a pooler."""

LOOK_SECONDS = 0.01


def healed_within_seconds(timing: Timing) -> float:
    """How soon after the last fault's end somebody leads, by arithmetic: what a replica may be waiting for, added up.

    A connection that is being given up, and the pause before the next; a server that has to be up for a TTL for its
    witnesses to count; a silence; a leader's own abstention; what a candidate leaves in Redis.
    """
    ttl = timing.ttl_seconds
    return CONNECT_SECONDS + 1.2 + ttl + timing.silence_seconds + ttl + timing.candidacy_seconds + 1.0


class World:
    """Parameters: seed, of everything that happens; faults, those that may."""

    def __init__(self, seed: int, faults: Mapping[str, Fault] = FAULTS, *, outage: RedisOutage | None = None) -> None:
        self.timeline = timeline = Timeline(seed)
        dice = timeline.random
        ttl_seconds = dice.choice(TTLS_SECONDS)
        self.timing = Timing(ttl_seconds, ttl_seconds * dice.choice(STALLS_OF_TTL))
        self.outage = outage or dice.choice((RedisOutage.HOLD, RedisOutage.HOLD, RedisOutage.HOLD, RedisOutage.STOP))
        self.checks = Checks(timeline, self.timing)
        timeline.failed = self.checks.fail
        self.postgres = PostgresServer(timeline, self.checks)
        self.redis = RedisServer(timeline)
        self.faults = faults
        self.replicas: list[Replica] = []
        self.is_over = False
        self._born = 0

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

    def play(self, episodes: int = EPISODES) -> Tally:
        """Let it happen; raises Violation."""
        try:
            with _no_collector():
                self.timeline.run(self._happen(episodes), lambda: self.checks.broken is not None)
        except Stuck:
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

    async def _happen(self, episodes: int) -> None:
        dice = self.timeline.random
        for name in ("a", "b", "c")[: dice.choice((2, 3, 3))]:
            self.be_born(name)
        await self.led()
        for _ in range(episodes):
            await asyncio.sleep(dice.uniform(0.2, 2.0))
            ends_at = self.timeline.now
            for _ in range(dice.choice(AT_ONCE)):
                ends_at = max(ends_at, self.inject(dice.choice(list(self.faults))))
                await asyncio.sleep(dice.choice((0.0, 0.0, dice.uniform(0.0, 0.1), dice.uniform(0.0, 2.0))))
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


def plays(seed: int, **given: object) -> Violation | None:
    """What a seed breaks, if it breaks anything."""
    try:
        World(seed, **given).play()  # type: ignore[arg-type]
    except Violation as broken:
        return broken
    return None

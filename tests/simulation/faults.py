"""What can go wrong, by name. Each begins at once and says when it is over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from scheduler_core.domain.errors import SchedulerError

from .network import QUICK_SECONDS, Direction
from .replica import Replica

if TYPE_CHECKING:
    from .world import World

SPANS_SECONDS = (0.05, 0.3, 0.7, 1.2, 2.5, 4.0, 8.0)
REBORN_SECONDS = (0.05, 3.0)
SLOW_SECONDS = ((0.002, 0.02), (0.02, 0.1), (0.05, 0.6))
LAG_SECONDS = (0.0, 0.2, 2.0, 10.0)
BREAK_CHANCES = (0.02, 0.2, 0.6)

Fault = Callable[["World", Random, Replica], float]
"""Parameters: world, dice, whom it hits where it hits one. Returns for how many seconds it lasts."""


def _span(dice: Random) -> float:
    return dice.choice(SPANS_SECONDS) * dice.uniform(0.8, 1.2)


def kill(world: World, dice: Random, victim: Replica) -> float:
    """kill -9, and another process comes up in its place."""
    world.kill(victim)
    seconds = dice.uniform(*REBORN_SECONDS)
    world.timeline.after(seconds, lambda: world.is_over or world.be_born(victim.name))
    return seconds


def stop(world: World, dice: Random, victim: Replica) -> float:
    """SIGSTOP, and SIGCONT; or a host that sleeps."""
    seconds = _span(dice)
    victim.host.stopped_until = max(victim.host.stopped_until, world.timeline.now + seconds)
    return seconds


def stall(world: World, dice: Random, victim: Replica) -> float:
    """The process works, and no loop of it makes a step: a callback that lets no other thread have the interpreter."""
    seconds = stop(world, dice, victim)
    victim.host.processor_seconds += seconds
    return seconds


def block(world: World, dice: Random, victim: Replica) -> float:
    """A callback blocks the scheduler's loop; the elector's goes on."""
    seconds = _span(dice)
    victim.loop.blocked_until = max(victim.loop.blocked_until, world.timeline.now + seconds)
    return seconds


def _cut(world: World, dice: Random, *directions: Direction) -> float:
    seconds = _span(dice)
    for direction in directions:
        direction.is_cut = True
        world.timeline.after(seconds, direction.mend)
    return seconds


def cut_from_postgres(world: World, dice: Random, victim: Replica) -> float:
    return _cut(world, dice, victim.postgres.up, victim.postgres.down)


def postgres_hears_nothing(world: World, dice: Random, victim: Replica) -> float:
    return _cut(world, dice, victim.postgres.up)


def postgres_is_not_heard(world: World, dice: Random, victim: Replica) -> float:
    return _cut(world, dice, victim.postgres.down)


def cut_from_redis(world: World, dice: Random, victim: Replica) -> float:
    return _cut(world, dice, victim.redis.up, victim.redis.down)


def redis_hears_nothing(world: World, dice: Random, victim: Replica) -> float:
    return _cut(world, dice, victim.redis.up)


def redis_is_not_heard(world: World, dice: Random, victim: Replica) -> float:
    return _cut(world, dice, victim.redis.down)


def cut_off(world: World, dice: Random, victim: Replica) -> float:
    """From everything."""
    links = (victim.postgres, victim.redis)
    return _cut(world, dice, *(direction for link in links for direction in (link.up, link.down)))


def _slow(world: World, dice: Random, *directions: Direction) -> float:
    seconds, slow = _span(dice), dice.choice(SLOW_SECONDS)

    def mend() -> None:
        for direction in directions:
            direction.seconds = QUICK_SECONDS

    for direction in directions:
        direction.seconds = slow
    world.timeline.after(seconds, mend)
    return seconds


def slow_postgres(world: World, dice: Random, victim: Replica) -> float:
    return _slow(world, dice, *(replica.postgres.down for replica in world.living()))


def slow_redis(world: World, dice: Random, victim: Replica) -> float:
    return _slow(world, dice, *(replica.redis.down for replica in world.living()))


def lost_replies(world: World, dice: Random, victim: Replica) -> float:
    """Connections break, before or after what they were used for was done."""
    seconds, chance = _span(dice), dice.choice(BREAK_CHANCES)
    links = dice.choice(([victim.postgres], [victim.redis], [victim.postgres, victim.redis]))

    def mend() -> None:
        for link in links:
            link.break_chance = 0.0

    for link in links:
        link.break_chance = chance
    world.timeline.after(seconds, mend)
    return seconds


def end_session(world: World, dice: Random, victim: Replica) -> float:
    """pg_terminate_backend."""
    world.postgres.end_all_of(victim.host.name, "57P01")
    return 0.0


def hold_row(world: World, dice: Random, victim: Replica) -> float:
    """A transaction that nobody ends holds the leader's row."""
    seconds = _span(dice)
    world.postgres.hold_row(seconds)
    return seconds


def restart_postgres(world: World, dice: Random, victim: Replica) -> float:
    seconds = _span(dice)
    world.postgres.crash()
    world.timeline.after(seconds, world.postgres.start)
    return seconds


def promote_standby(world: World, dice: Random, victim: Replica) -> float:
    """Postgres is lost, and what takes over has not seen its last seconds."""
    seconds, lag = dice.uniform(0.0, 1.0), dice.choice(LAG_SECONDS)
    world.postgres.crash()

    def take_over() -> None:
        row = world.postgres.row
        lost = world.postgres.promote_standby(lag + seconds)
        if world.postgres.row != row:
            world.checks.lines = None  # From here on the model has no step for what happened.
        for term in lost:
            world.checks.lost_terms[term] = world.timeline.now
            world.checks.say(f"term {term} was lost")

    world.timeline.after(seconds, take_over)
    return seconds


def read_only(world: World, dice: Random, victim: Replica) -> float:
    """The primary takes no writes for a while."""
    seconds = _span(dice)
    world.postgres.only_reads = True

    def mend() -> None:
        world.postgres.only_reads = False

    world.timeline.after(seconds, mend)
    return seconds


def _redis_down(world: World, dice: Random) -> float:
    seconds = _span(dice)
    world.redis.is_up = False

    def start() -> None:
        world.redis.is_up = True

    world.timeline.after(seconds, start)
    return seconds


def redis_down(world: World, dice: Random, victim: Replica) -> float:
    return _redis_down(world, dice)


def redis_lost(world: World, dice: Random, victim: Replica) -> float:
    """It comes back with nothing."""
    world.redis.flush()
    return _redis_down(world, dice)


def redis_flushed(world: World, dice: Random, victim: Replica) -> float:
    world.redis.flush()
    return 0.0


def redis_rolled_back(world: World, dice: Random, victim: Replica) -> float:
    """Its replica was promoted, which lacks the last writes."""
    world.redis.roll_back(dice.choice(LAG_SECONDS))
    return 0.0


def redis_errors(world: World, dice: Random, victim: Replica) -> float:
    seconds = _span(dice)
    world.redis.answers_errors = True

    def mend() -> None:
        world.redis.answers_errors = False

    world.timeline.after(seconds, mend)
    return seconds


def strange_lease(world: World, dice: Random, victim: Replica) -> float:
    """Somebody has written into the lease, and it never ends by itself."""
    world.redis.write_by_hand(f"x{dice.randrange(100)}")
    return 0.0


def resign(world: World, dice: Random, victim: Replica) -> float:
    """Somebody asks for it, and perhaps is cancelled at some await: at the first one it has been asked."""
    steps = 1 + dice.randrange(30) if dice.random() < 0.5 else None
    successor = dice.choice((None, dice.choice(world.living()).host.name, "nobody"))

    async def ask() -> None:
        with contextlib.suppress(SchedulerError, TimeoutError):
            if victim.elector is not None:
                await victim.elector.resign("asked", successor)

    def begin() -> None:
        asked = victim.loop.create_task(ask())
        if steps is not None:
            countdown(steps, asked)

    def countdown(left: int, asked: asyncio.Task[None]) -> None:
        if left:
            victim.loop.call_soon(countdown, left - 1, asked)
        else:
            asked.cancel()

    victim.loop.call_soon_threadsafe(begin)
    return 0.0


def leave(world: World, dice: Random, victim: Replica) -> float:
    """An orderly end: retire, resign, let what runs end, stop; and another process comes up in its place."""
    drain_seconds = dice.choice((0.0, 1.0, 60.0))

    async def end() -> None:
        elector = victim.elector
        if elector is None:
            return
        elector.retire()
        with contextlib.suppress(SchedulerError, TimeoutError):
            await elector.resign("stopped")
        await asyncio.sleep(drain_seconds)
        with contextlib.suppress(TimeoutError):
            await elector.stop()
        world.kill(victim)

    seconds = dice.uniform(*REBORN_SECONDS)
    victim.loop.call_soon_threadsafe(lambda: victim.loop.create_task(end()))
    # A rolling update begins the next before the last has ended.
    victim.name = f"{victim.name}, leaving"
    world.timeline.after(seconds, lambda: world.is_over or world.be_born(victim.name.partition(",")[0]))
    return seconds


ON_REDIS = {
    "redis_down": redis_down,
    "redis_lost": redis_lost,
    "redis_flushed": redis_flushed,
    "redis_rolled_back": redis_rolled_back,
    "redis_errors": redis_errors,
    "strange_lease": strange_lease,
    "slow_redis": slow_redis,
    "cut_from_redis": cut_from_redis,
    "redis_hears_nothing": redis_hears_nothing,
    "redis_is_not_heard": redis_is_not_heard,
}

ON_POSTGRES = {
    "cut_from_postgres": cut_from_postgres,
    "postgres_hears_nothing": postgres_hears_nothing,
    "postgres_is_not_heard": postgres_is_not_heard,
    "slow_postgres": slow_postgres,
    "end_session": end_session,
    "hold_row": hold_row,
    "restart_postgres": restart_postgres,
    "promote_standby": promote_standby,
    "read_only": read_only,
}

ON_BOTH = {"cut_off": cut_off, "lost_replies": lost_replies}

ON_A_PROCESS = {"kill": kill, "stop": stop, "stall": stall, "block": block, "resign": resign, "leave": leave}

FAULTS: Mapping[str, Fault] = {**ON_A_PROCESS, **ON_POSTGRES, **ON_REDIS, **ON_BOTH}

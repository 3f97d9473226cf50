"""What can go wrong on the fire path, by name: what an election knows, and what only statements and operators do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from ..faults import (
    ON_REDIS,
    REBORN_SECONDS,
    SPANS_SECONDS,
    block,
    cut_from_postgres,
    cut_off,
    end_session,
    kill,
    lost_replies,
    postgres_hears_nothing,
    postgres_is_not_heard,
    read_only,
    resign,
    restart_postgres,
    slow_postgres,
    stall,
    stop,
)
from .replica import FireReplica

if TYPE_CHECKING:
    from .world import FireWorld

DISK_SECONDS = ((0.005, 0.05), (0.05, 0.5), (0.3, 2.5))
STEPS_SECONDS = (-20.0, -1.0, -0.2, 0.2, 1.0, 5.0, 30.0)

FireFault = Callable[[Any, Random, Any], float]
"""Parameters: world, dice, whom it hits where it hits one. Returns for how many seconds it lasts."""


def _span(dice: Random) -> float:
    return dice.choice(SPANS_SECONDS) * dice.uniform(0.8, 1.2)


def slow_disk(world: FireWorld, dice: Random, victim: FireReplica) -> float:
    """Each statement takes long from its snapshot to its commit, and keeps its locks."""
    seconds = _span(dice)
    world.postgres.slow_until, world.postgres.slow_seconds = world.timeline.now + seconds, dice.choice(DISK_SECONDS)
    return seconds


def end_some_session(world: FireWorld, dice: Random, victim: FireReplica) -> float:
    """pg_terminate_backend, in the middle of a statement if there is one."""
    world.postgres.end_some_of(victim.host.name, "57P01")
    return 0.0


def clock_step(world: FireWorld, dice: Random, victim: FireReplica) -> float:
    """Somebody sets the server's clock."""
    world.postgres.ahead_seconds += dice.choice(STEPS_SECONDS)
    world.was_clock_set = True
    return 0.0


def clock_jump(world: FireWorld, dice: Random, victim: FireReplica) -> float:
    """The server's clock is off by an hour for a while: nobody plans by it."""
    seconds, ahead = _span(dice), dice.choice((-3600.0, 3600.0))

    def mend() -> None:
        world.postgres.ahead_seconds -= ahead

    world.postgres.ahead_seconds += ahead
    world.was_clock_set = True
    world.timeline.after(seconds, mend)
    return seconds


def cancel_somewhere(world: FireWorld, dice: Random, victim: FireReplica) -> float:
    """Whatever executes a callback is cancelled from outside, at whichever await it stands."""

    def strike() -> None:
        tasks = [task for task in victim.loop.tasks() if task.get_name().startswith("run ")]
        if tasks:
            dice.choice(tasks).cancel()

    victim.loop.call_soon_threadsafe(strike)
    return 0.0


def leave(world: FireWorld, dice: Random, victim: FireReplica) -> float:
    """An orderly end, and another process comes up in its place: a rolling update."""

    async def end() -> None:
        if victim.scheduler is not None:
            await victim.scheduler.stop()
        world.kill(victim)

    seconds = dice.uniform(*REBORN_SECONDS)
    name = victim.name.partition(",")[0]
    victim.loop.call_soon_threadsafe(lambda: victim.loop.create_task(end()))
    victim.name = f"{name}, leaving"
    world.timeline.after(seconds, lambda: world.is_over or world.be_born(name))
    return seconds


ON_STATEMENTS: Mapping[str, FireFault] = {
    "slow_disk": slow_disk,
    "end_some_session": end_some_session,
    "clock_step": clock_step,
    "clock_jump": clock_jump,
    "cancel_somewhere": cancel_somewhere,
}

FAULTS: Mapping[str, FireFault] = {
    "kill": kill,
    "stop": stop,
    "stall": stall,
    "block": block,
    "resign": resign,
    "leave": leave,
    "cut_from_postgres": cut_from_postgres,
    "postgres_hears_nothing": postgres_hears_nothing,
    "postgres_is_not_heard": postgres_is_not_heard,
    "slow_postgres": slow_postgres,
    "end_session": end_session,
    "restart_postgres": restart_postgres,
    "read_only": read_only,
    **ON_REDIS,
    "cut_off": cut_off,
    "lost_replies": lost_replies,
    **ON_STATEMENTS,
}

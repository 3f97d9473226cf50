"""How faults strike a Postgres that goes on: other defaults, refused writes, a pinned snapshot, a clock that steps.

`drill.faults` is the table of them all. Each is healed by an act that is tried again until the server takes it: another
fault may have it down, or changed its primary, meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from scheduler_core.drill.healing import lasting, lasts_seconds
from scheduler_core.drill.injection import InjectedFault
from scheduler_core.drill.stage import Leader, Stage
from scheduler_core.storage.embedded.injections import PostgresInjector

HEAL_SECONDS = 60.0
CLOCK_STEPS_SECONDS = (-8 * 3600.0, 8 * 3600.0)
"""Longer than any drill lasts: an instant that was read meanwhile can be told from every other."""

Act = Callable[[PostgresInjector], Awaitable[object]]


async def changed_default(
    stage: Stage, _leader: Leader, _draw: random.Random, *, name: str, value: str
) -> InjectedFault:
    at = stage.clock.now()
    await stage.servers.injector.set_default(name, value)
    return _lasting(
        stage, InjectedFault(at, f"Postgres: {name} = {value}", False), lambda heal: heal.reset_default(name)
    )


async def publication(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    at = stage.clock.now()
    await stage.servers.injector.publish()
    return _lasting(stage, InjectedFault(at, "Postgres: all tables", False), lambda heal: heal.unpublish())


async def full_disk(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    at = stage.clock.now()
    await stage.servers.injector.refuse_writes()
    return _lasting(stage, InjectedFault(at, "Postgres: the table of runs", False), lambda heal: heal.take_writes())


async def rights(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    at = stage.clock.now()
    await stage.servers.injector.revoke()
    return _lasting(stage, InjectedFault(at, "Postgres: the replicas' role", False), lambda heal: heal.grant())


async def snapshot(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    at = stage.clock.now()
    held = await stage.servers.injector.hold_snapshot()

    async def let_go() -> None:
        held.let_go()

    return InjectedFault(at, "Postgres: a transaction is left open", False, lasts_seconds(stage), let_go)


async def clock(stage: Stage, _leader: Leader, draw: random.Random) -> InjectedFault:
    seconds = draw.choice(CLOCK_STEPS_SECONDS)
    at = stage.clock.now()
    await stage.servers.injector.shift_clock(seconds)
    struck = InjectedFault(at, f"Postgres: its clock, {seconds:+g} s", False, clock_off_seconds=seconds)
    return _lasting(stage, struck, lambda heal: heal.shift_clock(0.0))


def _lasting(stage: Stage, struck: InjectedFault, undo: Act) -> InjectedFault:
    async def heal() -> None:
        # Whichever server is the primary by now.
        await undo(stage.servers.injector)

    return lasting(stage, struck, heal, HEAL_SECONDS)

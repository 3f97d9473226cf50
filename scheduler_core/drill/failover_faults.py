"""How the primary dies and its standby is promoted. `drill.faults` is the table of them all."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

from scheduler_core.drill.evidence import Failover
from scheduler_core.drill.healing import lasts_seconds
from scheduler_core.drill.injection import InjectedFault
from scheduler_core.drill.stage import Leader, Stage

LAGS_MS = (0, 100, 400)
"""How long before its end nothing of the primary reaches its standby any more: what a slow network makes of the two."""


async def make_standby(stage: Stage, *, synchronous: bool) -> None:
    """What has to be there before the fault can strike, and takes seconds to make."""
    assert stage.servers.pair is not None
    assert stage.proxies is not None
    await stage.servers.pair.make_standby(stage.proxies, synchronous=synchronous)


async def fail_over(stage: Stage, _leader: Leader, draw: random.Random) -> InjectedFault:
    assert stage.servers.pair is not None
    lag_ms = draw.choice(LAGS_MS)
    if lag_ms:
        await stage.servers.pair.deafen()
        await asyncio.sleep(lag_ms / 1000)
    at = stage.clock.now()
    until = await stage.servers.fail_over()
    said = f"Postgres: the primary is gone; its standby, which had heard nothing for {lag_ms} ms, is promoted"
    # A standby that nothing was replayed on has what it was copied with.
    return InjectedFault(at, said, False, failover=Failover(at, until or at - timedelta(milliseconds=lag_ms)))


async def move_endpoint(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    pair = stage.servers.pair
    assert pair is not None
    at = stage.clock.now()
    await stage.servers.switch_over()
    said = (
        "Postgres: a standby that has every commit is promoted; the former primary keeps its sessions, and only reads"
    )
    return InjectedFault(at, said, False, lasts_seconds(stage), pair.end_former)


async def fail_over_synchronously(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    at = stage.clock.now()
    await stage.servers.fail_over()
    return InjectedFault(at, "Postgres: the primary is gone; its standby, which has every commit, is promoted", False)

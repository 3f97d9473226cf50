"""How faults strike the servers, and the leader's connections to them. `drill.faults` is the table of them all."""

from __future__ import annotations

import asyncio
import random

from scheduler_core.drill.healing import lasts_seconds
from scheduler_core.drill.injection import InjectedFault, NothingInjectedError
from scheduler_core.drill.proxy import CALM, LinkState
from scheduler_core.drill.stage import Leader, Stage

REDIS_DOWN_TTLS = 2.0
REDIS_EMPTY_SECONDS = 0.3


async def redis_down(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    return await _redis_killed(stage, REDIS_DOWN_TTLS * stage.plan.lease_ttl_seconds, empty=False)


async def redis_empty(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    return await _redis_killed(stage, REDIS_EMPTY_SECONDS, empty=True)


async def _redis_killed(stage: Stage, lasts_seconds: float, *, empty: bool) -> InjectedFault:
    server = stage.servers.breakable().redis
    assert server is not None
    at = stage.clock.now()
    await asyncio.to_thread(server.kill)

    async def start_again() -> None:
        if empty:
            stage.servers.forget_redis_dump()
        await asyncio.to_thread(server.start)

    return InjectedFault(at, "Redis", False, lasts_seconds, start_again)


async def redis_flush(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    stage.servers.breakable()
    at = stage.clock.now()
    async with stage.servers.redis() as redis:
        await redis.flushall()
    return InjectedFault(at, "Redis", False)


async def pg_kill(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    server = stage.servers.primary
    at = stage.clock.now()
    await asyncio.to_thread(server.kill)

    async def start_again() -> None:
        await asyncio.to_thread(server.start)

    return InjectedFault(at, "Postgres", False, heal=start_again)


async def pg_restart(stage: Stage, _leader: Leader, _draw: random.Random) -> InjectedFault:
    server = stage.servers.primary
    at = stage.clock.now()
    await asyncio.to_thread(server.stop, "immediate")

    async def start_again() -> None:
        await asyncio.to_thread(server.start)

    return InjectedFault(at, "Postgres", False, heal=start_again)


# Connections of the leader.


async def pg_terminate(stage: Stage, leader: Leader, _draw: random.Random) -> InjectedFault:
    assert stage.proxies is not None
    ports = [port for proxy in leader.replica.links["postgres"] for port in await stage.proxies.upstream_ports(proxy)]
    at = stage.clock.now()
    ended = await stage.servers.reader.terminate_ports(ports)
    return InjectedFault(at, f"{ended} sessions of the {leader}")


async def pg_terminate_control(stage: Stage, leader: Leader, _draw: random.Random) -> InjectedFault:
    at = stage.clock.now()
    ended = await stage.servers.reader.terminate_control(leader.replica.pid)
    if not ended:
        raise NothingInjectedError("the leader's control session holds no witness: a pooler stands before Postgres")
    return InjectedFault(at, f"control session of the {leader}")


async def set_link(
    stage: Stage, leader: Leader, _draw: random.Random, *, server: str, link_state: LinkState
) -> InjectedFault:
    proxies, links = stage.proxies, leader.replica.links[server]
    assert proxies is not None
    at = stage.clock.now()
    for proxy in links:
        await proxies.set_link_state(proxy, link_state)

    async def clear() -> None:
        for proxy in links:
            await proxies.set_link_state(proxy, CALM)

    said = f"{leader}: its way to {server.capitalize()}"
    return InjectedFault(at, said, lasts_seconds=lasts_seconds(stage), heal=clear)

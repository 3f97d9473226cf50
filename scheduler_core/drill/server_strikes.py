"""How faults strike the servers, and the leader's connections to them. `drill.faults` is the table of them all."""

from __future__ import annotations

import asyncio
import random

from scheduler_core.drill.healing import lasts_seconds
from scheduler_core.drill.proxy import CALM, Weather
from scheduler_core.drill.stage import Leader, Stage
from scheduler_core.drill.strikes import NothingStruckError, Struck

REDIS_DOWN_TTLS = 2.0
REDIS_EMPTY_SECONDS = 0.3


async def redis_down(stage: Stage, _leader: Leader, _draw: random.Random) -> Struck:
    return await _redis_killed(stage, REDIS_DOWN_TTLS * stage.plan.lease_ttl_seconds, empty=False)


async def redis_empty(stage: Stage, _leader: Leader, _draw: random.Random) -> Struck:
    return await _redis_killed(stage, REDIS_EMPTY_SECONDS, empty=True)


async def _redis_killed(stage: Stage, lasts_seconds: float, *, empty: bool) -> Struck:
    server = stage.servers.breakable().redis
    assert server is not None
    at = stage.clock.now()
    await asyncio.to_thread(server.kill)

    async def start_again() -> None:
        if empty:
            stage.servers.forget_redis_dump()
        await asyncio.to_thread(server.start)

    return Struck(at, "Redis", False, lasts_seconds, start_again)


async def redis_flush(stage: Stage, _leader: Leader, _draw: random.Random) -> Struck:
    stage.servers.breakable()
    at = stage.clock.now()
    async with stage.servers.redis() as redis:
        await redis.flushall()
    return Struck(at, "Redis", False)


async def pg_kill(stage: Stage, _leader: Leader, _draw: random.Random) -> Struck:
    server = stage.servers.primary
    at = stage.clock.now()
    await asyncio.to_thread(server.kill)

    async def start_again() -> None:
        await asyncio.to_thread(server.start)

    return Struck(at, "Postgres", False, heal=start_again)


async def pg_restart(stage: Stage, _leader: Leader, _draw: random.Random) -> Struck:
    server = stage.servers.primary
    at = stage.clock.now()
    await asyncio.to_thread(server.stop, "immediate")

    async def start_again() -> None:
        await asyncio.to_thread(server.start)

    return Struck(at, "Postgres", False, heal=start_again)


# Connections of the leader.


async def pg_terminate(stage: Stage, leader: Leader, _draw: random.Random) -> Struck:
    assert stage.proxies is not None
    ports = [port for proxy in leader.replica.links["postgres"] for port in await stage.proxies.upstream_ports(proxy)]
    at = stage.clock.now()
    ended = await stage.servers.reader.terminate_ports(ports)
    return Struck(at, f"{ended} sessions of the {leader}")


async def pg_terminate_control(stage: Stage, leader: Leader, _draw: random.Random) -> Struck:
    at = stage.clock.now()
    ended = await stage.servers.reader.terminate_control(leader.replica.pid)
    if not ended:
        raise NothingStruckError("the leader's control session holds no witness: a pooler stands before Postgres")
    return Struck(at, f"control session of the {leader}")


async def weather(stage: Stage, leader: Leader, _draw: random.Random, *, server: str, weather: Weather) -> Struck:
    proxies, links = stage.proxies, leader.replica.links[server]
    assert proxies is not None
    at = stage.clock.now()
    for proxy in links:
        await proxies.set_weather(proxy, weather)

    async def clear() -> None:
        for proxy in links:
            await proxies.set_weather(proxy, CALM)

    said = f"{leader}: its way to {server.capitalize()}"
    return Struck(at, said, lasts_seconds=lasts_seconds(stage), heal=clear)

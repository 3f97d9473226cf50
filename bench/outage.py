"""Redis is gone for half a minute under `redis_outage = "hold"`: fires before, meanwhile and after, in one run."""

from __future__ import annotations

import asyncio

from bench.stage import LATENESS, Stage, figures
from scheduler_core import Container, load_settings

WARM_UP_SECONDS = 8.0


async def measure(stage: Stage, seconds: float) -> dict[str, dict[str, float]]:
    """Returns lateness in milliseconds before, during and after an outage of `seconds`."""
    assert stage.servers.redis is not None
    container = Container(load_settings(database_url=stage.database_url, redis_url=stage.redis_url))
    try:
        await container.prepare()
        marks = []
        with stage.replicas("bench.busy_app", 3):
            await asyncio.sleep(WARM_UP_SECONDS)
            marks.append(await container.get_database().now())
            await asyncio.sleep(seconds / 2)
            marks.append(await container.get_database().now())
            await asyncio.to_thread(stage.servers.redis.kill)
            await asyncio.sleep(seconds)
            marks.append(await container.get_database().now())
            await asyncio.to_thread(stage.servers.redis.start)
            await asyncio.sleep(seconds / 2)
            marks.append(await container.get_database().now())
        phases = zip(("before", "without Redis", "after"), marks, marks[1:], strict=False)
        return {phase: await figures(container, LATENESS, since=since, until=until) for phase, since, until in phases}
    finally:
        await container.close()

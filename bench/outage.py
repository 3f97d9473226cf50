"""Redis is gone for half a minute under `redis_outage = "hold"`: lateness before, meanwhile and after, in one run."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from bench.sizes import Sizes
from scheduler_core import ScheduleJob
from scheduler_core.benchmark import callbacks
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.stage import Servers, Stage
from scheduler_core.benchmark.throughput import EPOCH

PERCENTS = (50.0, 99.0, 100.0)
JOBS = [
    ScheduleJob(
        f"busy-{n}", f"Busy {n}", "interval", 0.1, callbacks.work, start_at=EPOCH + timedelta(milliseconds=2 * n)
    )
    for n in range(50)
]
"""500 fires a second, each job at a phase of its own."""


async def measure(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Lateness in each phase; nothing on servers that are not ours to break."""
    if servers.embedded is None or servers.embedded.redis is None:
        return []
    redis, seconds = servers.embedded.redis, sizes.outage_seconds
    async with servers.stage("outage") as stage, stage.leader(), stage.followers(2):
        await stage.add_jobs(JOBS)
        await asyncio.sleep(sizes.warm_up_seconds)
        marks = [await stage.database.now()]
        await asyncio.sleep(seconds / 2)
        marks.append(await stage.database.now())
        await asyncio.to_thread(redis.kill)
        try:
            await asyncio.sleep(seconds)
            marks.append(await stage.database.now())
        finally:
            await asyncio.to_thread(redis.start)
        await asyncio.sleep(seconds / 2)
        marks.append(await stage.database.now())
        figures: list[Figure] = []
        for phase, since, until in zip(("before", "meanwhile", "after"), marks, marks[1:], strict=False):
            figures += await _phase(stage, phase, since, until)
    return figures


async def _phase(stage: Stage, phase: str, since: datetime, until: datetime) -> list[Figure]:
    values = await stage.reader.lateness_ms(PERCENTS, since, until)
    note = f"{(until - since).total_seconds():.0f} s, 500 fires/s, three replicas"
    return [
        Figure(f"outage.{phase}.{name}_ms", f"Redis gone, lateness {phase}, {name}", round(value, 2), "ms", note=note)
        for name, value in zip(("p50", "p99", "max"), values, strict=False)
    ]

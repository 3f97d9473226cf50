"""Lateness of jobs that all fire once a second, at the same instant: the worst case for the last of them."""

from __future__ import annotations

import asyncio

from bench.stage import LATENESS, Stage, figures
from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.cli.replica import spare_the_collector

JOBS = 200


async def work() -> None:
    """Does nothing: what is measured is the scheduler."""


async def measure(stage: Stage, seconds: float) -> dict[str, float]:
    """Returns the number of runs, of those that did not succeed, and lateness in milliseconds."""
    container = Container(load_settings(database_url=stage.database_url, redis_url=stage.redis_url, timezone="UTC"))
    try:
        await container.start([ScheduleJob(f"job-{n}", f"Job {n}", "interval", 1, work) for n in range(JOBS)])
        spare_the_collector()
        await asyncio.sleep(seconds)
        await container.stop()
        return {"jobs": JOBS, **await figures(container, LATENESS, since=stage.began_at, until=None)}
    finally:
        await container.close()

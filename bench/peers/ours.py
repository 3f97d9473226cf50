"""Ourselves, by the same protocol: one replica for throughput and lateness, two for the takeover.

Through the public API: `SchedulerService.add_jobs` of a replica that may not lead stores ONCE jobs, `scheduler run`
fires them. Default settings.

Recorded: one row per run with status, times, lateness and term, in `scheduler_audit.runs`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg
from inside import Given, fires, ready

from scheduler_core import RunContext, ScheduleJob, SchedulerService, load_settings
from scheduler_core.cli.replica import run as run_replica
from scheduler_core.service import job

DONE = "SELECT count(*) FROM scheduler_audit.runs WHERE status = 'succeeded'"


async def nothing() -> None: ...


async def fire(ctx: RunContext) -> None:
    fires.write(int(ctx.job_id.rpartition("-")[2]), ctx.scheduled_for.timestamp())


def configure(given: Given, **settings: str) -> None:
    os.environ |= {
        "SCHEDULER_DATABASE_URL": given.database_url,
        "SCHEDULER_REDIS_URL": given.redis_url,
        "SCHEDULER_TIMEZONE": "UTC",
        "SCHEDULER_LOG_LEVEL": "ERROR",
        "SCHEDULER_ALLOWED_CALLBACKS": f'["{__name__}"]',
        **settings,
    }


def store(given: Given, jobs: list[ScheduleJob]) -> None:
    configure(given, SCHEDULER_ELIGIBLE="false")

    async def run() -> None:
        SchedulerService.init(settings=load_settings())
        await SchedulerService.add_jobs(jobs)
        await SchedulerService.start()
        await SchedulerService.shutdown()

    asyncio.run(run())


def install(given: Given) -> None:
    store(given, [])


def enqueue(given: Given) -> None:
    callback = nothing if given.mode == "throughput" else fire

    def once(index: int) -> ScheduleJob:
        at = datetime.fromtimestamp(given.instant(index), UTC)
        return ScheduleJob(f"once-{index}", f"Once {index}", "once", at, callback)

    store(given, [once(index) for index in range(given.count)])


def work(given: Given) -> None:
    configure(given)
    for key in range(given.schedules):
        job(f"tick-{key}", every=given.period, start_at=datetime.fromtimestamp(given.due, UTC))(fire)
    ready(given)
    run_replica(app=__name__)


def counter(given: Given) -> Callable[[], int]:
    runner = asyncio.Runner()
    connection = runner.run(asyncpg.connect(given.database_url))

    def count() -> int:
        return int(runner.run(connection.fetchval(DONE)))

    return count

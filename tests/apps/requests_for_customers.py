"""`python -m apps.requests_for_customers COUNT`: the process that serves the requests. It adds jobs, and is gone."""

from __future__ import annotations

import asyncio
import sys

from apps.customers import sync
from scheduler_core import ScheduleJob, SchedulerService


async def serve(count: int) -> None:
    SchedulerService.init()
    await SchedulerService.start()
    await SchedulerService.add_jobs(
        [ScheduleJob(f"customer-{n}", f"Customer {n}", "interval", 0.5, sync, args=[n]) for n in range(count)]
    )
    await SchedulerService.shutdown()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

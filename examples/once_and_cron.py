"""A job that runs once, now, and one that follows a cron expression."""

import asyncio
from datetime import datetime

from scheduler_core import ScheduleJob, SchedulerService, ScheduleType

done = asyncio.Semaphore(0)


async def announce() -> None:
    print("once")
    done.release()


async def by_cron() -> None:
    print("each second, by a cron expression with a seconds field")
    done.release()


async def main() -> None:
    SchedulerService.init()
    await SchedulerService.start()
    await SchedulerService.add_jobs(
        [
            ScheduleJob("at_once", "At once", ScheduleType.ONCE, None, announce),
            ScheduleJob("at_an_instant", "At an instant", ScheduleType.ONCE, datetime.now(), announce),
            ScheduleJob("midnight", "Each midnight", ScheduleType.CRON, "0 0 * * *", by_cron),
            ScheduleJob("each_second", "Each second", ScheduleType.CRON, "* * * * * *", by_cron),
        ]
    )
    async with asyncio.timeout(30):
        for _ in range(3):
            await done.acquire()
    await SchedulerService.shutdown()


asyncio.run(main())

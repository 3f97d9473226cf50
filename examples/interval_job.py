"""A job every few seconds. Intervals do not drift: each instant is the anchor plus a multiple."""

import asyncio

from scheduler_core import ScheduleJob, SchedulerService, ScheduleType

runs = asyncio.Semaphore(0)


async def periodic_task() -> None:
    print("every second")
    runs.release()


async def main() -> None:
    SchedulerService.init()
    await SchedulerService.start()
    await SchedulerService.add_job(
        ScheduleJob(
            job_id="periodic_task",
            name="Periodic task",
            schedule_type=ScheduleType.INTERVAL,
            schedule_value=1,
            callback=periodic_task,
        )
    )
    async with asyncio.timeout(30):
        for _ in range(2):
            await runs.acquire()
    await SchedulerService.shutdown()


asyncio.run(main())

"""A job at a time of day, and when it fires next."""

import asyncio
from datetime import UTC, datetime

from scheduler_core import ScheduleJob, SchedulerService, ScheduleType, next_fires


async def generate_daily_report() -> None:
    print("the daily report")


daily_job = ScheduleJob(
    job_id="daily_report",
    name="Daily report",
    schedule_type=ScheduleType.DAILY,
    schedule_value="14:30",
    callback=generate_daily_report,
)


async def main() -> None:
    SchedulerService.init()
    await SchedulerService.add_job(daily_job)
    await SchedulerService.start()
    status = await SchedulerService.fetch_job_status("daily_report")
    assert status is not None
    print("stored, next run:", status.next_run)
    for instant in next_fires(daily_job, datetime.now(UTC), 3):
        print("fires at", instant.isoformat())
    await SchedulerService.shutdown()


asyncio.run(main())

"""Add, look at, pause, resume, trigger and remove jobs."""

import asyncio

from scheduler_core import ScheduleJob, SchedulerService, ScheduleType

executed = asyncio.Event()


async def work() -> None:
    executed.set()


async def main() -> None:
    SchedulerService.init()
    await SchedulerService.start()
    job = ScheduleJob("managed", "Managed job", ScheduleType.INTERVAL, "3600", work)
    await SchedulerService.add_job(job)

    run = await SchedulerService.trigger_job("managed")
    async with asyncio.timeout(30):
        await executed.wait()
    print("triggered run", run.run_id)

    await SchedulerService.pause_job("managed", note="just looking")
    paused = await SchedulerService.fetch_job_status("managed")
    assert paused is not None
    print("paused:", paused.paused)
    await SchedulerService.resume_job("managed")

    print("one:", SchedulerService.get_job_status("managed"))
    print("all:", sorted(SchedulerService.get_all_jobs_status()))
    await SchedulerService.remove_job("managed")
    print("after removal:", SchedulerService.get_job_status("managed"))
    await SchedulerService.shutdown()


asyncio.run(main())

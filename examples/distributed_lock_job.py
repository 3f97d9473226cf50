"""A job under a distributed lock: while somebody else holds it, the run is skipped and says so."""

import asyncio

from scheduler_core import LockService, ScheduleJob, SchedulerService, ScheduleType, ServiceContainer

executed = asyncio.Event()


async def distributed_task() -> None:
    print("protected by a distributed lock")
    executed.set()


async def main() -> None:
    lock_service = ServiceContainer.get_lock_service()
    assert isinstance(lock_service, LockService)
    SchedulerService.init(lock_service)
    await SchedulerService.start()
    async with lock_service.hold("somebody_elses_work", ttl=5) as token:
        print("held:", token is not None)
        await SchedulerService.add_job(
            ScheduleJob(
                job_id="distributed_task",
                name="Distributed task",
                schedule_type=ScheduleType.INTERVAL,
                schedule_value=1,
                use_distributed_lock=True,
                lock_key="unique_distributed_task",
                lock_ttl=300,
                callback=distributed_task,
            )
        )
        async with asyncio.timeout(30):
            await executed.wait()
    await SchedulerService.shutdown()


asyncio.run(main())

"""Initialize with the container's lock service, start, and shut down."""

import asyncio

from scheduler_core import SchedulerService, ServiceContainer


async def main() -> None:
    lock_service = ServiceContainer.get_lock_service()
    SchedulerService.init(lock_service)
    print("initialized:", SchedulerService.is_initialized())

    await SchedulerService.start()
    scheduler = SchedulerService.get_scheduler()
    print("running:", scheduler.is_running)

    await SchedulerService.stop()
    await SchedulerService.shutdown()
    print("initialized:", SchedulerService.is_initialized())


asyncio.run(main())

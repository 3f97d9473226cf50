"""The shortest service: two jobs by decorator, one of which fails at first and is retried."""

import asyncio

from scheduler_core import RunContext, SchedulerService, job

fired = asyncio.Event()


@job("tick", every=1)
async def tick() -> None:
    print("tick")


@job("import", once=None, max_retries=3, retry_delay=0.2)
async def import_data(ctx: RunContext) -> None:
    print(f"import, attempt {ctx.attempt}, key {ctx.idempotency_key}")
    if ctx.attempt < 2:
        raise ConnectionError("the upstream hung up")
    fired.set()


async def main() -> None:
    SchedulerService.init()
    await SchedulerService.start()
    async with asyncio.timeout(30):
        await fired.wait()
    await SchedulerService.shutdown()


asyncio.run(main())

"""Jobs that touch what a migration might: some succeed, one lasts, one fails and is tried again."""

import asyncio

from scheduler_core import job


async def tick() -> None:
    pass


for number in range(3):
    job(f"tick-{number}", every=0.1)(tick)


@job("lasts", every=0.5)
async def lasts() -> None:
    await asyncio.sleep(0.4)


@job("fails", every=0.2, max_retries=1, retry_delay=0.05)
async def fails() -> None:
    raise ValueError("on purpose")

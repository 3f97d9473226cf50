"""A job's distributed lock: held while its run executes, renewed by itself, inherited from a dead owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.run import LoggerLike, Run
from scheduler_core.ports import Locks

RENEWALS_PER_TTL = 3


@asynccontextmanager
async def held_lock(locks: Locks, key: str, ttl_seconds: float, run: Run, logger: LoggerLike) -> AsyncIterator[bool]:
    """Hold a lock inside `async with`; yields whether it was got.

    The lock names the run: the replica that adopts the run of a dead owner takes its lock over with it. A lock
    that is lost all the same is logged; the run goes on, because stopping half-way is no safer.
    """
    take_over = getattr(locks, "acquire_for", None)
    if take_over is not None:
        token = await take_over(key, ttl_seconds, str(run.run_id))
    else:
        token = await locks.acquire(key, ttl_seconds)
    if not token:
        yield False
        return

    async def keep() -> None:
        while True:
            await asyncio.sleep(ttl_seconds / RENEWALS_PER_TTL)
            try:
                if await locks.renew(key, token, ttl_seconds) is False:
                    logger.error("the lock %r of job %r was lost while its run goes on", key, run.job_id)
                    return
            except (SchedulerError, OSError) as error:
                logger.warning("the lock %r of job %r can't be renewed just now: %s", key, run.job_id, error)

    keeper = asyncio.create_task(keep(), name=f"lock of {run.job_id}")
    try:
        yield True
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        try:
            await locks.release(key, token)
        except (SchedulerError, OSError) as error:
            logger.warning("the lock %r of job %r runs out by itself: %s", key, run.job_id, error)

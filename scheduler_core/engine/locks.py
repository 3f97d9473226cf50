"""A job's distributed lock: held while its run executes, renewed by itself, inherited from a dead owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.run import Failure, LoggerLike, Run
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


class LockedElsewhereError(Exception):
    """Somebody else holds the job's lock: the work is being done, and the run does not execute."""


class RunLock:
    """The lock of one run: taken by its first attempt that can, held until the run has ended.

    Parameters: locks, gives the lock service; the others as `held_lock`.
    """

    def __init__(self, locks: Callable[[], Locks], key: str, ttl_seconds: float, run: Run, logger: LoggerLike) -> None:
        self._locks = locks
        self._key = key
        self._ttl_seconds = ttl_seconds
        self._run = run
        self._logger = logger
        self._stack = AsyncExitStack()
        self._is_held = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def take(self) -> Failure | None:
        """Take the lock, unless this run has it already; a failure says that nobody knows whether it is free.

        Raises LockedElsewhereError.
        """
        if self._is_held:
            return None
        try:
            held = held_lock(self._locks(), self._key, self._ttl_seconds, self._run, self._logger)
            self._is_held = await self._stack.enter_async_context(held)
        except Exception as error:  # noqa: BLE001 - a lock service of the user's raises what it likes
            return Failure("failed", "LockUnavailable", str(error) or type(error).__name__)
        if not self._is_held:
            raise LockedElsewhereError(self._key)
        return None

"""A job's distributed lock: held while its run executes, renewed by itself, inherited from a dead owner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.runs.ending import LOCKED, Ending, How
from scheduler_core.domain.runs.run import Failure, LoggerLike, Run
from scheduler_core.engine.fire.callback_call import failure_of
from scheduler_core.ports.election import Locks
from scheduler_core.runtime.task_ends import end_tasks

RENEWALS_PER_TTL = 3

MOST_CANCELS = 2
"""While a lock is being released: by then it goes on, and nobody waits for it any more."""


class RunLocks:
    """The lock service of this process.

    Parameters: find, gives the service when a job first needs it; None where there is none.
    """

    def __init__(self, find: Callable[[], Locks] | None, logger: LoggerLike) -> None:
        self._find = find
        self._logger = logger
        self._service: Locks | None = None

    def of(self, run: Run, definition: JobDefinition) -> RunLock | None:
        """The lock that this run is to hold; None for a job without one."""
        if not definition.use_distributed_lock:
            return None
        return RunLock(self, definition.lock_key or f"job:{run.job_id}", definition.lock_ttl, run, self._logger)

    def service(self) -> Locks:
        """The lock service. Raises SchedulerError if none is configured."""
        if self._service is None:
            if self._find is None:
                raise SchedulerError("no lock service is configured: set redis_url, or init(lock_service)")
            self._service = self._find()
        return self._service

    async def release_abandoned(self) -> None:
        """Give back the locks whose release got lost, where the service knows of such. Raises as the service does."""
        release = getattr(self._service, "release_abandoned", None)
        if release is not None:
            await release()


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
            except Exception as error:  # noqa: BLE001 - a lock service of the user's raises what it likes
                logger.warning("the lock %r of job %r can't be renewed just now: %r", key, run.job_id, error)

    keeper = asyncio.create_task(keep(), name=f"lock of {run.job_id}")
    try:
        yield True
    finally:
        await end_tasks(keeper)
        try:
            await locks.release(key, token)
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning("the lock %r of job %r runs out by itself: %r", key, run.job_id, error)


class RunLock:
    """The lock of one run: taken by its first attempt that can, held until the run has ended.

    Made by `RunLocks.of`.
    """

    def __init__(self, locks: RunLocks, key: str, ttl_seconds: float, run: Run, logger: LoggerLike) -> None:
        self._locks = locks
        self._key = key
        self._ttl_seconds = ttl_seconds
        self._run = run
        self._logger = logger
        self._stack = AsyncExitStack()
        self._is_held = False

    async def take(self) -> Ending | None:
        """Take the lock, unless this run has it already; None if it is held now.

        Somebody else's lock means that the work is being done. A lock service that can't be asked is a failed attempt:
        while nobody can tell whether the lock is free the callback must not be called.
        """
        if self._is_held:
            return None
        try:
            held = held_lock(self._locks.service(), self._key, self._ttl_seconds, self._run, self._logger)
            self._is_held = await self._stack.enter_async_context(held)
        except Exception as error:  # noqa: BLE001 - a lock service of the user's raises what it likes
            raised = failure_of(error)
            return Ending(How.RAISED, Failure("failed", "LockUnavailable", raised.error_message or raised.error_type))
        return None if self._is_held else LOCKED

    async def release(self) -> None:
        """Let go of it.

        The run has ended. A cancel that comes now is one that the callback has left behind for its own task, or a
        stop's: neither may keep the lock from being given back, or the outcome from being recorded.
        """
        releasing = asyncio.create_task(self._stack.aclose(), name=f"release of the lock of {self._run.job_id}")
        for _ in range(MOST_CANCELS):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({releasing})
                break
        if releasing.done():
            releasing.result()

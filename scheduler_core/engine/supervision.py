"""Tasks that must not end while the replica lives, and those that end by themselves: each has an owner here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.runtime.task_ends import end_tasks

RESTART_SECONDS = 0.2


async def keep_going(work: Callable[[], Awaitable[None]], name: str, logger: LoggerLike) -> None:
    """Do `work` until it returns; after an error that nobody foresaw, say so and begin it again.

    A leader whose loop or recorder ended in silence would go on renewing its lease: to the others it lives, and
    nothing fires or nothing is recorded (the drill found one).
    """
    while True:
        try:
            await work()
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica goes on
            logger.error("%s failed and begins again: %r", name, error)
        await asyncio.sleep(RESTART_SECONDS)


class TaskGroup:
    """Tasks of one scheduler: the loops that go on until it stops, and errands that end by themselves."""

    def __init__(self, logger: LoggerLike) -> None:
        self._logger = logger
        self._loops: list[asyncio.Task[None]] = []
        self._errands: set[asyncio.Task[None]] = set()

    def keep_going(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Do `work` until `stop`, again after an error."""
        self._loops.append(asyncio.create_task(keep_going(work, name, self._logger), name=name))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Have something done beside."""
        task = asyncio.create_task(work, name=name)
        self._errands.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.error("%s failed inside the scheduler: %r", task.get_name(), error)

    async def drain(self, timeout_seconds: float) -> None:
        """Let the errands end, for at most so long; the rest is cancelled."""
        errands = self._errands - {asyncio.current_task()}
        if not errands:
            return
        _, left = await asyncio.wait(errands, timeout=timeout_seconds)
        await end_tasks(*left)

    async def stop(self) -> None:
        """End the loops."""
        loops, self._loops = self._loops, []
        await end_tasks(*loops)

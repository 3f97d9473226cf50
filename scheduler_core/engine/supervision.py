"""Tasks that must not end while the replica lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from scheduler_core.domain.run import LoggerLike

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

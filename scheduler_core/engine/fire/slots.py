"""How many callbacks may execute at once: as many of each executor, so that none takes the room of another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """The slots of one executor.

    Parameters: count, how many callbacks may execute at once.
    """

    def __init__(self, count: int) -> None:
        self.of_all = asyncio.Semaphore(count)
        self.of_backfills = asyncio.Semaphore(max(1, count // 2))
        """Where runs of one job may overlap, a backfill leaves half of the slots to what is due. Taken first."""

    @asynccontextmanager
    async def given_back(self) -> AsyncIterator[None]:
        """A run that waits is in nobody's way: it gives its slot back, and takes one again before it goes on."""
        self.of_all.release()
        try:
            yield
        finally:
            await self.of_all.acquire()

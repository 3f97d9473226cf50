"""Something that sleeps until it is time to look again, and may be woken before."""

from __future__ import annotations

import asyncio


class Wake:
    """A sleep of one task that anybody in its loop may end early. Woken while awake, it sleeps not the next time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Look again now. In the sleeper's own loop."""
        self._event.set()

    async def sleep(self, seconds: float) -> bool:
        """Sleep for so long at the most; whether it was woken. Zero or less gives the others one turn."""
        if seconds <= 0:
            await asyncio.sleep(0)
        else:
            try:
                async with asyncio.timeout(seconds):
                    await self._event.wait()
            except TimeoutError:
                return False
        woken = self._event.is_set()
        self._event.clear()
        return woken

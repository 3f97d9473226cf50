"""The last look at the whole scheduler, shared by everybody who asks in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from scheduler_core.container import Container
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.situation import Situation

SITUATION_SECONDS = 5.0
CENSUS_SECONDS = 60.0
REST = 20
"""Times as long as a reading took, at least, before the next: however many jobs there are, scrapes cost little."""


class Observer:
    """Looks when it is asked, and not again for a while.

    Parameters: find_container, whose database is looked at.
    """

    def __init__(self, find_container: Callable[[], Container]) -> None:
        self._find_container = find_container
        self._lock = asyncio.Lock()
        self._look_at = self._count_at = 0.0
        self.problem: str | None = "nobody has looked yet"
        """Why there is no situation: what Postgres, or the way to it, answered last."""
        self.situation: Situation | None = None
        self.census: Mapping[str, int] = {}

    async def look(self) -> None:
        """Have a reading that is a few seconds old at most, or the reason why there is none."""
        async with self._lock:
            began = time.monotonic()
            if began < self._look_at:
                return
            try:
                await self._read()
                self.problem = None
                rest_seconds = REST * (time.monotonic() - began)
            except SchedulerError as error:
                self.situation, self.census, self.problem = None, {}, str(error)
                rest_seconds = self._count_at = 0.0
            self._look_at = time.monotonic() + max(SITUATION_SECONDS, rest_seconds)

    async def _read(self) -> None:
        container = self._find_container()
        observations = container.get_observations()
        if (began := time.monotonic()) >= self._count_at:
            self.census = await observations.census()
            took_seconds = time.monotonic() - began
            self._count_at = time.monotonic() + max(CENSUS_SECONDS, REST * took_seconds)
        self.situation = await observations.situation(overdue_seconds=container.settings.overdue_seconds)

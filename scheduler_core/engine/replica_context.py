"""What every part of one replica's engine is given: one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler_core.domain.run import LoggerLike
from scheduler_core.domain.trust import Timing
from scheduler_core.engine.clock import DatabaseClock
from scheduler_core.engine.counters import Counters
from scheduler_core.ports import Instance, Storage


@dataclass(frozen=True, slots=True)
class ReplicaContext:
    """See the module."""

    instance: Instance
    timing: Timing
    storage: Storage
    clock: DatabaseClock
    counters: Counters
    logger: LoggerLike

    async def read_clock(self) -> None:
        """Ask the database for its time. Its connection is warm then, and a takeover need not wait for either."""
        sent_at = self.clock.monotonic()
        now = await self.storage.jobs.now()
        self.clock.read(now, sent_at, self.clock.monotonic())

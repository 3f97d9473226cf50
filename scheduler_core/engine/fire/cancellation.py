"""Looking which runs are to be cancelled: the request stands in the run's row, with who asked.

A replica hears a hint over its control session, within milliseconds, and looks. Anybody may send one, and one can get
lost (the session was being made anew, or a pooler stands before Postgres). So a hint is worth a look at a run that is
in flight here, and whoever has runs in flight looks once a second anyway.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.runs import Requests

LOOK_EVERY_SECONDS = 1.0

REST_SECONDS = 0.02
"""Between two looks at hints, however many come."""

OVERLAP = timedelta(seconds=10)
"""A request that was made before the last look may have been committed after it: looks overlap by this much."""


class RunCanceller(Protocol):
    """Who can end a run that executes somewhere else."""

    def cancel(self, run_id: UUID) -> None: ...


class RunsInFlight(RunCanceller, Protocol):
    """The runs that this process has."""

    def __len__(self) -> int: ...

    def __contains__(self, run_id: UUID) -> bool: ...


class CancelWatch:
    """Parameters: in_flight, whose runs are looked for; further, whoever else is told of each."""

    def __init__(
        self,
        requests: Requests,
        instance_id: str,
        in_flight: RunsInFlight,
        logger: LoggerLike,
        further: RunCanceller | None = None,
        machine: MachineClock = SYSTEM_CLOCK,
    ) -> None:
        self._requests = requests
        self._instance_id = instance_id
        self._in_flight = in_flight
        self._further = further
        self._logger = logger
        self._monotonic = machine.monotonic
        self._hinted: set[UUID] = set()
        self._wake = Wake()

    def hint(self, run_id: str) -> None:
        """Somebody says that a run is to be cancelled. What is nonsense, or not in flight here, is not worth a look."""
        try:
            named = UUID(run_id)
        except ValueError:
            return
        if named in self._in_flight:
            self._hinted.add(named)
            self._wake.wake()

    def cancel(self, run_id: UUID) -> None:
        """Somebody asked for a run to be cancelled."""
        self._in_flight.cancel(run_id)
        if self._further is not None:
            self._further.cancel(run_id)

    async def work(self) -> None:
        """Look for requests, for ever."""
        since: datetime | None = None
        look_at = self._monotonic() + LOOK_EVERY_SECONDS
        while True:
            await self._wake.sleep(look_at - self._monotonic())
            try:
                await self._look_at_hints()
                if self._monotonic() >= look_at:
                    look_at = self._monotonic() + LOOK_EVERY_SECONDS
                    since = await self._look_for_requests(since)
            except SchedulerError as error:
                self._logger.debug("requests to cancel are looked for again: %s", error)
            await asyncio.sleep(REST_SECONDS)

    async def _look_at_hints(self) -> None:
        hinted, self._hinted = self._hinted, set()
        if hinted:
            for run_id in await self._requests.cancelled_among(hinted):
                self.cancel(run_id)

    async def _look_for_requests(self, since: datetime | None) -> datetime | None:
        if not self._in_flight:
            return since
        found = await self._requests.cancelled_since(since, self._instance_id)
        for run_id in found.run_ids:
            self.cancel(run_id)
        return found.now - OVERLAP

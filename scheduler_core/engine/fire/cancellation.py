"""Asking again which runs are to be cancelled.

A replica is told of a cancel over its control session, within milliseconds. A message can get lost (the session was
being made anew, or a pooler stands before Postgres); the request itself stands in the run's row. So whoever has runs
in flight looks there once a second.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.run import LoggerLike
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.ports import Requests

LOOK_EVERY_SECONDS = 1.0

OVERLAP = timedelta(seconds=10)
"""A request that was made before the last look may have been committed after it: looks overlap by this much."""


class RunCanceller(Protocol):
    """Who can end a run that executes somewhere else."""

    def cancel(self, run_id: UUID) -> None: ...


class CancelWatch:
    """Parameters: in_flight, whose runs are looked for; further, whoever else is told of each."""

    def __init__(
        self,
        requests: Requests,
        instance_id: str,
        in_flight: InFlightRuns,
        logger: LoggerLike,
        further: RunCanceller | None = None,
    ) -> None:
        self._requests = requests
        self._instance_id = instance_id
        self._in_flight = in_flight
        self._further = further
        self._logger = logger

    def cancel(self, run_id: UUID) -> None:
        """Somebody asked for a run to be cancelled."""
        self._in_flight.cancel(run_id)
        if self._further is not None:
            self._further.cancel(run_id)

    async def work(self) -> None:
        """Look for requests, for ever."""
        since: datetime | None = None
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            if not self._in_flight:
                continue
            try:
                found = await self._requests.cancelled_since(since, self._instance_id)
            except SchedulerError as error:
                self._logger.debug("requests to cancel are looked for again: %s", error)
                continue
            since = found.now - OVERLAP
            for run_id in found.run_ids:
                self.cancel(run_id)

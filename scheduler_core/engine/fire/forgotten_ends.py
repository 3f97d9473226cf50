"""Attempts whose end Postgres has forgotten: a standby was promoted that had not heard of it.

Their rows say `running` under a replica that lives and has them no more, so that nobody would ever end them. Only this
replica knows; it looks once for each server that it comes to be with.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.fire.recovery import BATCH, MAX_DELIVERIES
from scheduler_core.ports.runs import Runs


class ServerKnower(Protocol):
    """Who is with a server of Postgres."""

    @property
    def server(self) -> str | None:
        """Which start of which Postgres that is; None before it is with any."""


class RunsInHand(Protocol):
    """The runs that this process has."""

    def run_ids(self) -> list[UUID]: ...


class ForgottenEnds:
    """Parameters: elector, whose control session is with the server; in_flight, what this process has; ttl_seconds,
    after which a statement that was sent before has been answered or given up.
    """

    def __init__(
        self,
        runs: Runs,
        instance_id: str,
        *,
        elector: ServerKnower,
        in_flight: RunsInHand,
        ttl_seconds: float,
        counters: Counters,
        logger: LoggerLike,
        machine: MachineClock = SYSTEM_CLOCK,
    ) -> None:
        self._runs = runs
        self._instance_id = instance_id
        self._elector = elector
        self._in_flight = in_flight
        self._ttl_seconds = ttl_seconds
        self._counters = counters
        self._logger = logger
        self._boottime = machine.boottime
        self._known: str | None = None
        self._since: float | None = None

    def begin(self) -> None:
        """Nothing was begun as yet, on whichever server."""
        self._known = self._elector.server

    async def look(self) -> None:
        """End what this server says that we are running, and we are not. Raises SchedulerError: then it looks again."""
        server, now = self._elector.server, self._boottime()
        if server != self._known:
            self._known, self._since = server, now
        if self._since is None or now - self._since < self._ttl_seconds:
            return
        # What was begun before that is in flight still, or has ended: it stays there until its end is durable.
        ended = await self._runs.give_up_forgotten(
            self._instance_id,
            self._in_flight.run_ids(),
            begun_before_seconds=now - self._since,
            max_deliveries=MAX_DELIVERIES,
            limit=BATCH,
        )
        if ended < BATCH:
            self._since = None
        if ended:
            self._counters.attempts["lost"] += ended
            self._logger.warning("Postgres has forgotten how %d attempts ended: a standby was promoted", ended)

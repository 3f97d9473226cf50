"""The control session as the elector holds it: opened, lost and opened again, and what each of these publishes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.election.exchange import ElectionListener, LoopPulse
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.election import ControlSession, Instance


class ControlLink:
    """Parameters: session, not open yet; pulse, which says what this replica can call; listener, told of nudges."""

    def __init__(
        self,
        session: ControlSession,
        instance: Instance,
        *,
        pulse: LoopPulse,
        trust: LeaderTrust,
        listener: ElectionListener,
        wake: Wake,
        logger: LoggerLike,
    ) -> None:
        self.session = session
        self.started_at: datetime | None = None
        """When this replica registered first, by the database's clock."""
        self._instance = instance
        self._pulse = pulse
        self._trust = trust
        self._listener = listener
        self._wake = wake
        self._logger = logger

    async def open(self) -> None:
        """Connect and take the life witness, unless the session is open. Raises ServerUnreachableError, SchemaError."""
        if self.session.is_open:
            return
        me = replace(self._instance, abilities=self._pulse.abilities)
        self.started_at = await self.session.open(me, self)
        self._trust.witness_life(held=self.session.is_open)
        if not self.session.witnesses_work:
            self._logger.warning(
                "the control session does not keep advisory locks: a transaction pooler stands before "
                "Postgres. Failover takes the lease's TTL; set control_database_url to a direct address"
            )

    async def reopen(self) -> None:
        """Let go of the session, whatever is left of it, and have a new one. Raises as `open`."""
        await self.close()
        await self.open()

    async def close(self) -> None:
        """Let go of the session, and with it of every witness."""
        self._trust.witness_life(held=False)
        await self.session.close()

    async def depart(self) -> None:
        """Say that this replica ends, as far as that can be said, and let go."""
        if self.session.is_open:
            try:
                await self.session.depart()
            except SchedulerError as error:
                self._logger.debug("leaving without a word: %s", error)
        await self.close()

    # What the session tells, in the elector's loop.

    def nudged(self, message: str) -> None:
        """Somebody says that something has changed."""
        self._listener.nudged(message)

    def session_lost(self) -> None:
        """The connection has ended, whoever ended it."""
        self._trust.witness_life(held=False)
        self._wake.wake()

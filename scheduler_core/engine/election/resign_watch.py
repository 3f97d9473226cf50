"""Looking whether somebody asked the leader to resign: the request stands in the row of its term, with who asked.

As with [cancels](fire/cancellation.py), a message over the control session is a hint that anybody may send and that may
get lost. Every replica hears it; who leads in the term that it names looks, and looks once a second anyway.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.runs import Requests

LOOK_EVERY_SECONDS = 1.0

REST_SECONDS = 0.1
"""Between two looks, however many hints come."""


class Resigning(Protocol):
    """Who can give leadership up."""

    async def resign(self, reason: str) -> None: ...


class ResignWatch:
    """Parameters: leader, who resigns when somebody has asked."""

    def __init__(self, requests: Requests, trust: LeaderTrust, leader: Resigning, logger: LoggerLike) -> None:
        self._requests = requests
        self._trust = trust
        self._leader = leader
        self._logger = logger
        self._wake = Wake()

    def hint(self, term: str) -> None:
        """Somebody says that the leader of a term is to resign. Any but this replica's term is not worth a look."""
        leadership = self._trust.leadership()
        if leadership is not None and term == str(leadership.term):
            self._wake.wake()

    async def work(self) -> None:
        """Look for requests, for ever."""
        while True:
            await self._wake.sleep(LOOK_EVERY_SECONDS)
            leadership = self._trust.leadership()
            if leadership is not None:
                await self._look(leadership.term)
            await asyncio.sleep(REST_SECONDS)

    async def _look(self, term: int) -> None:
        try:
            who = await self._requests.asked_to_resign(term)
        except SchedulerError as error:
            self._logger.debug("requests to resign are looked for again: %s", error)
            return
        if who is not None:
            self._logger.info("%s asked the leader of term %s to resign", who, term)
            await self._leader.resign("asked to")

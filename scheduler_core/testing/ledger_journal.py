"""The journal of a test's scheduler: what happens to runs is written into the ledger at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from scheduler_core.domain.runs.run import Outcome, RunStatus
from scheduler_core.engine.fire.active_run import ActiveRun
from scheduler_core.engine.fire.recorder import OutcomeListener
from scheduler_core.testing.clock import VirtualClock
from scheduler_core.testing.ledger import Ledger

CLOSED = "the scheduler was closed"


class LedgerJournal:
    """See `engine.fire.journal`. Nobody adopts what is left here: what a close cuts off has ended."""

    def __init__(self, clock: VirtualClock, ledger: Ledger) -> None:
        self.listeners: list[OutcomeListener] = []
        self._clock = clock
        self._ledger = ledger
        self._is_closed = False
        self._sentinel: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Take note of the loop that runs execute in: when that ends, this task is cancelled with all others."""
        if self._sentinel is None or self._sentinel.done():
            self._sentinel = asyncio.create_task(_for_ever(), name="scheduler under test")

    def close(self) -> None:
        """Nothing goes on any more."""
        self._is_closed = True
        if self._sentinel is not None:
            self._sentinel.cancel()

    @property
    def is_open(self) -> bool:
        """Whether runs may go on."""
        sentinel = self._sentinel
        return not self._is_closed and sentinel is not None and not sentinel.done() and not sentinel.cancelling()

    async def start_run(self, active: ActiveRun) -> bool:
        """Write down that an attempt begins."""
        self.record_soon(active.as_running())
        return True

    async def record(self, outcome: Outcome) -> None:
        self.record_soon(outcome)

    async def record_durably(self, outcome: Outcome) -> bool:
        self.record_soon(outcome)
        return True

    def record_soon(self, outcome: Outcome) -> None:
        """Write it down."""
        if not self.is_open and not outcome.status.is_finished:
            outcome = replace(outcome, status=RunStatus.CANCELLED, reason=CLOSED, finished_at=self._clock.now())
        self._ledger.record(outcome)
        for listener in self.listeners:
            listener.outcomes_recorded([outcome], frozenset())
        self._clock.note_change()


async def _for_ever() -> None:
    await asyncio.Event().wait()

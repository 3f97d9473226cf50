"""Which callbacks may take their first steps beside which others: `domain.begin` says, this holds the others back.

A run is inside from before its start is written down until its callback has shown that it does not kill its process at
once: it has given the loop back, has been in its thread for a moment, or its end is durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence, Set
from uuid import UUID

from scheduler_core.domain.runs.begin import BESIDE, Begin
from scheduler_core.domain.runs.run import Outcome

FIRST_STEPS_SECONDS = 0.02
"""Of a callback in a thread, whose steps nobody sees: one that kills its process at once has done so by then."""


class StartGate:
    """One process's gate: first come, first served, as far as those inside allow."""

    def __init__(self) -> None:
        self._inside: dict[UUID, Begin] = {}
        self._ended: set[UUID] = set()
        self._waiting: deque[tuple[UUID, Begin, asyncio.Future[None]]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nobody is inside, nor waits."""
        return not self._inside and not self._waiting

    async def enter(self, run_id: UUID, begin: Begin) -> None:
        """Come inside, once nobody is there beside whom this one may not begin. `FREELY` needs not ask."""
        if not self._waiting and self._admits(begin):
            self._inside[run_id] = begin
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (run_id, begin, admitted)
        self._waiting.append(entry)
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self.leave(run_id)
            else:
                self._waiting.remove(entry)
                self._admit()
            raise

    def leave(self, run_id: UUID) -> None:
        """Let the next ones in; harmless for one that has left."""
        self._ended.discard(run_id)
        if self._inside.pop(run_id, None) is not None:
            self._admit()

    def leave_soon(self, run_id: UUID, *, in_thread: bool) -> None:
        """Leave once the callback, which is called next, has taken its first steps."""
        loop = asyncio.get_running_loop()
        if in_thread:
            loop.call_later(FIRST_STEPS_SECONDS, self._leave_unless_ended, run_id)
        else:
            # The loop comes to this as soon as the callback has given it back, for the first time.
            loop.call_soon(self._leave_unless_ended, run_id)

    def end(self, run_id: UUID) -> None:
        """The callback has ended: what it came to must be durable before the next ones begin."""
        if (begin := self._inside.get(run_id)) is None:
            return
        if begin.is_durable:
            self._ended.add(run_id)
        else:
            self.leave(run_id)

    def outcomes_recorded(self, outcomes: Sequence[Outcome], _late: Set[UUID]) -> None:
        """These are durable. What is told of one that has not ended, that it was queued, lets nobody in."""
        for outcome in outcomes if self._ended else ():
            if outcome.run.run_id in self._ended:
                self.leave(outcome.run.run_id)

    def _leave_unless_ended(self, run_id: UUID) -> None:
        if run_id not in self._ended:
            self.leave(run_id)

    def _admits(self, begin: Begin) -> bool:
        # Those inside are there beside one another: what goes with one of them goes with all.
        inside = next(iter(self._inside.values()), None)
        return inside is None or (begin, inside) in BESIDE

    def _admit(self) -> None:
        while self._waiting and self._admits(self._waiting[0][1]):
            run_id, begin, admitted = self._waiting.popleft()
            if not admitted.done():
                self._inside[run_id] = begin
                admitted.set_result(None)

"""The runs that this process has in hand: from the claim or the adoption until it is durable that each has ended
or gone back.

    scheduled   a timer waits for the run's instant; one timer for all runs of an instant
    waiting     its instant has come: it waits for its turn, a slot or its definition
    begun       its callback is being called, or waits to be called again
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from scheduler_core.domain.run import LoggerLike, Origin, Outcome, Run, RunStatus
from scheduler_core.engine.begun import Begun, ended, returned
from scheduler_core.engine.clock import DatabaseClock
from scheduler_core.engine.recorder import Recorder

BACKFILLS_IN_HAND = 50
"""Backfilled runs of one job, beyond which the rest waits in Postgres."""


class Hand:
    """See the module.

    Parameters: clock, the database's; recorder, which is told what is dropped; begin, given each run at its instant,
    and whether runs of its job come one after the other; has_room, told that more backfilled runs may come.
    """

    def __init__(
        self,
        clock: DatabaseClock,
        recorder: Recorder,
        *,
        begin: Callable[[Run, bool], None],
        has_room: Callable[[], None],
        logger: LoggerLike,
    ) -> None:
        self._clock = clock
        self._recorder = recorder
        self._begin = begin
        self._has_room = has_room
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._runs: set[UUID] = set()
        self._instants: dict[datetime, list[tuple[Run, bool]]] = {}
        self._timers: dict[datetime, asyncio.TimerHandle] = {}
        self._scheduled: dict[UUID, Run] = {}
        self._waiting: dict[UUID, Run] = {}
        self._begun: dict[UUID, Begun] = {}
        self._cancelling: set[UUID] = set()
        self._backfills: dict[UUID, str] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def run_ids(self) -> list[UUID]:
        return list(self._runs)

    def full_of_backfills(self) -> list[str]:
        """The jobs of which enough backfilled runs are in hand."""
        return [job_id for job_id, count in Counter(self._backfills.values()).items() if count >= BACKFILLS_IN_HAND]

    def take(self, run: Run, *, in_order: bool) -> None:
        """Take a run in hand, unless it is there already, and have it begun at its instant."""
        if run.run_id in self._runs:
            return
        self._runs.add(run.run_id)
        if run.origin is Origin.BACKFILL:
            self._backfills[run.run_id] = run.job_id
        self._scheduled[run.run_id] = run
        instant = run.due_at if run.next_attempt_at is None else max(run.due_at, run.next_attempt_at)
        together = self._instants.get(instant)
        if together is None:
            self._instants[instant] = [(run, in_order)]
            self._set_timer(instant)
        else:
            together.append((run, in_order))

    def _set_timer(self, instant: datetime) -> None:
        delay_seconds = self._clock.monotonic_at(instant) - time.monotonic()
        self._timers[instant] = self._loop.call_later(max(delay_seconds, 0.0), self._strike, instant)

    def _strike(self, instant: datetime) -> None:
        if self._clock.now() < instant:
            # Timers count in whole milliseconds and may come early; a run may not.
            self._set_timer(instant)
            return
        del self._timers[instant]
        for run, in_order in self._instants.pop(instant):
            if self._scheduled.get(run.run_id) is run:
                del self._scheduled[run.run_id]
                self._waiting[run.run_id] = run
                self._begin(run, in_order)

    def waits_no_more(self, run: Run) -> bool:
        """Take a run from those that wait; False if it is not there, or there anew after it was handed back."""
        if self._waiting.get(run.run_id) is not run:
            return False
        del self._waiting[run.run_id]
        return True

    def is_cancelling(self, run: Run) -> bool:
        """Whether somebody asked for the run to be cancelled."""
        return run.run_id in self._cancelling

    # Begun runs.

    def put(self, begun: Begun) -> None:
        self._begun[begun.run.run_id] = begun

    def drop(self, begun: Begun) -> None:
        del self._begun[begun.run.run_id]

    def calling(self) -> Iterator[Begun]:
        """The runs whose callback is being called. Safe to ask from another thread."""
        return (begun for begun in list(self._begun.values()) if begun.calling)

    def lose(self, run: Run) -> None:
        """Somebody else has the run: its outcome came too late."""
        begun = self._begun.get(run.run_id)
        if begun is not None:
            begun.still_owner = False
        self._logger.warning(
            "run %s was taken over or cancelled meanwhile; its outcome here is kept as late", run.idempotency_key
        )

    # Letting go.

    def hand_back(self) -> None:
        """Give back what has not begun, so that the next leader may start it at once."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._instants.clear()
        for held in (self._scheduled, self._waiting):
            for run in held.values():
                self._recorder.record_soon(returned(run))
            held.clear()

    def cancel(self, run_id: UUID) -> None:
        """Somebody asked for a run to be cancelled: drop it, or stop it, if it is in hand here.

        What waits has ended in the database already. A coroutine is cancelled; a thread can't be stopped: its run
        ends as cancelled once it has returned.
        """
        if run_id not in self._runs or run_id in self._cancelling:
            return
        self._cancelling.add(run_id)
        scheduled = self._scheduled.pop(run_id, None)
        if scheduled is not None:
            self._recorder.record_soon(ended(scheduled, RunStatus.CANCELLED, "requested", self._clock.now()))
            return
        begun = self._begun.get(run_id)
        if begun is None or begun.task is None:
            return
        begun.cancel_requested = True
        if begun.stoppable or not begun.calling:
            begun.task.cancel()
        else:
            self._logger.warning("run %s is to be cancelled: its thread is waited for", begun.run.idempotency_key)

    def release(self, run: Run) -> None:
        """Somebody else has the run now, or nobody."""
        self._let_go_of(run.run_id)

    def let_go(self, outcomes: Sequence[Outcome]) -> None:
        """These outcomes are durable."""
        for outcome in outcomes:
            if outcome.status in _LEAVING:
                self._let_go_of(outcome.run.run_id)

    def _let_go_of(self, run_id: UUID) -> None:
        self._runs.discard(run_id)
        if self._cancelling:
            self._cancelling.discard(run_id)
        if self._backfills:
            self._let_go_of_backfill(run_id)

    def _let_go_of_backfill(self, run_id: UUID) -> None:
        job_id = self._backfills.pop(run_id, None)
        if job_id is not None and job_id not in self.full_of_backfills():
            self._has_room()


_LEAVING = frozenset(status for status in RunStatus if status.is_finished or status is RunStatus.PENDING)

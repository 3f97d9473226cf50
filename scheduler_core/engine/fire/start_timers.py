"""Timers: each run begins at its own instant, and one timer serves all runs of an instant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from scheduler_core.domain.runs.run import Run
from scheduler_core.engine.clock import Clock
from scheduler_core.engine.fire.in_flight import InFlightRuns
from scheduler_core.engine.fire.run_executor import RunExecutor


class StartTimers:
    """Parameters: in_flight, which a run enters here; executor, which begins each run at its instant."""

    def __init__(self, clock: Clock, in_flight: InFlightRuns, executor: RunExecutor) -> None:
        self._clock = clock
        self._in_flight = in_flight
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._instants: dict[datetime, list[tuple[Run, bool]]] = {}
        self._timers: dict[datetime, asyncio.TimerHandle] = {}

    def arrange(self, run: Run, *, in_order: bool) -> None:
        """Have a run begun at its instant, unless it is in flight already.

        Parameters: in_order, whether runs of its job come one after the other.
        """
        if not self._in_flight.schedule(run):
            return
        instant = run.due_at if run.next_attempt_at is None else max(run.due_at, run.next_attempt_at)
        together = self._instants.get(instant)
        if together is None:
            self._instants[instant] = [(run, in_order)]
            self._set_timer(instant)
        else:
            together.append((run, in_order))

    def hand_back(self) -> None:
        """Give back what has not begun."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._instants.clear()
        self._in_flight.hand_back()

    def _set_timer(self, instant: datetime) -> None:
        delay_seconds = self._clock.monotonic_at(instant) - self._clock.monotonic()
        self._timers[instant] = self._loop.call_later(max(delay_seconds, 0.0), self._fire_due, instant)

    def _fire_due(self, instant: datetime) -> None:
        if self._clock.now() < instant:
            # Timers count in whole milliseconds and may come early; a run may not.
            self._set_timer(instant)
            return
        del self._timers[instant]
        due: Sequence[tuple[Run, bool]] = self._instants.pop(instant)
        for run, in_order in due:
            self._executor.start(run, in_order=in_order)

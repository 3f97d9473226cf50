"""What passes between the elector's thread and the scheduler's loop, without either waiting for the other.

The scheduler's loop publishes that it moves, what it can call and what it is calling. The elector tells a listener.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from scheduler_core.domain.jobs.abilities import Abilities
from scheduler_core.domain.runs.run import Outcome
from scheduler_core.engine.election.surroundings import THIS_MACHINE, Surroundings
from scheduler_core.ports.election import Leadership


class ElectionListener(Protocol):
    """Who is told, in the elector's thread."""

    def leadership_changed(self, leadership: Leadership | None, reason: str) -> None:
        """This replica leads from now on, or leads no more (None), and why."""

    def nudged(self, message: str) -> None:
        """Somebody says, over the control session, that something has changed: see `ports.Jobs.notify`."""


class LoopInbox:
    """A listener that has everything told in the loop in which it was made.

    Parameters: listener, called there.
    """

    def __init__(self, listener: ElectionListener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()

    def leadership_changed(self, leadership: Leadership | None, reason: str) -> None:
        self._post(self._listener.leadership_changed, leadership, reason)

    def nudged(self, message: str) -> None:
        self._post(self._listener.nudged, message)

    def _post(self, tell: Callable[..., None], *what: object) -> None:
        # A loop that was closed under a scheduler that nobody stopped: there is nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(tell, *what)


class ActiveRuns(Protocol):
    """The runs whose callbacks are being called."""

    def as_running(self) -> Sequence[Outcome]:
        """They, as outcomes that say `running`. Safe to ask from another thread."""


class NoActiveRuns:
    """Those of a process that leads nothing."""

    def as_running(self) -> Sequence[Outcome]:
        return ()


class LoopPulse:
    """Signs of life of the scheduler's loop.

    Parameters: active_runs, what is being called in it; abilities, what this replica can call, as last published: one
    immutable value.
    """

    def __init__(
        self, active_runs: ActiveRuns, abilities: Abilities, surroundings: Surroundings = THIS_MACHINE
    ) -> None:
        self._boottime = surroundings.boottime
        self.active_runs = active_runs
        self.abilities = abilities
        self._moved_at = self._boottime()

    def beat(self) -> None:
        """The loop moves: called in it, now and then."""
        self._moved_at = self._boottime()

    @property
    def stalled_seconds(self) -> float:
        """Since the loop last moved."""
        return self._boottime() - self._moved_at

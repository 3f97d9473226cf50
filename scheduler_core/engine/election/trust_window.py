"""The trust window: whether this process may, at this very instant, believe that it leads.

The elector's thread publishes it as one immutable value; whoever starts a run asks it, from any thread, without
waiting.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from dataclasses import dataclass, replace
from typing import Protocol

from scheduler_core.domain.runs.run import Run
from scheduler_core.engine.election.surroundings import THIS_MACHINE, Surroundings
from scheduler_core.ports.election import Leadership

DOUBT_AFTER_SECONDS = 0.5
"""A word of the elector's that is older was not followed by several more: less than any follower's patience."""

DOUBT_FOR_SECONDS = 0.1


class TrustWindow(Protocol):
    """What an executor of runs asks before each start, and again at a callback's first line (invariant I7)."""

    lost: asyncio.Event
    """Set while nothing may be started: whoever waits for a retry then lets go of its run."""

    def allows(self, run: Run) -> bool:
        """Whether the run may start at this very instant. Safe to ask from any thread."""

    @property
    def holds_life(self) -> bool:
        """Whether the life witness is held: while it is, nobody takes over what was begun here."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What may be believed, until when and since when (seconds by `boottime`)."""

    leadership: Leadership | None = None
    until: float = 0.0
    since: float = 0.0
    holds_life: bool = False


class LeaderTrust:
    """The trust window of a replica that may lead: published by its elector, and by nobody else."""

    def __init__(self, surroundings: Surroundings = THIS_MACHINE) -> None:
        self._boottime = surroundings.boottime
        self.lost = asyncio.Event()
        self._trust = Trust()
        self._published = surroundings.condition()
        self._doubted: Trust | None = None
        """What was not renewed while somebody waited for that."""
        _windows.add(self)

    # What anybody asks.

    def leadership(self) -> Leadership | None:
        """The current leadership while it can be trusted, else None."""
        trust = self._trust
        return trust.leadership if self._boottime() < trust.until else None

    def allows(self, run: Run) -> bool:
        """Whether a run of this term may start at this very instant.

        Without the control session the witness has fallen: a successor may have adopted the run already.
        """
        trust = self._trust
        if trust.leadership is not None and self._boottime() - trust.since > DOUBT_AFTER_SECONDS:
            trust = self._next(trust)
        leadership = trust.leadership
        return (
            leadership is not None
            and leadership.term == run.term
            and trust.holds_life
            and self._boottime() < trust.until
        )

    def _next(self, trust: Trust) -> Trust:
        """What the elector says next, if in time: its last word is old enough for somebody to have taken over.

        A process that was stopped for a second wakes up with its window open and its timers due; its elector needs
        milliseconds to learn more. Where it takes longer, nobody waits a second time.
        """
        if self._doubted is not trust:
            with self._published:
                self._published.wait_for(lambda: self._trust is not trust, timeout=DOUBT_FOR_SECONDS)
            self._doubted = trust
        return self._trust

    @property
    def holds_life(self) -> bool:
        return self._trust.holds_life

    # What the elector publishes.

    def seat(self, leadership: Leadership, until: float) -> None:
        """This replica leads, believably until then (`boottime`)."""
        self._publish(replace(self._trust, leadership=leadership, until=until, since=self._boottime()))

    def extend(self, until: float) -> None:
        """The last beat was good: believable until then."""
        self._publish(replace(self._trust, until=until, since=self._boottime()))

    def drop(self) -> Leadership | None:
        """This replica leads no more; returns the leadership that it had."""
        trust = self._trust
        self._publish(Trust(holds_life=trust.holds_life))
        return trust.leadership

    def witness_life(self, *, held: bool) -> None:
        """The control session was opened, or is gone."""
        self._publish(replace(self._trust, holds_life=held))

    def distrust(self) -> None:
        """Nothing may be believed any more. In a forked child nobody waits, and the lock may be held for ever."""
        self._trust = Trust()

    def _publish(self, trust: Trust) -> None:
        self._trust = trust
        with self._published:
            self._published.notify_all()


_windows: weakref.WeakSet[LeaderTrust] = weakref.WeakSet()


def _distrust_all() -> None:
    for window in list(_windows):
        window.distrust()


# A child forked without exec has its parent's memory, and nothing of its leadership.
os.register_at_fork(after_in_child=_distrust_all)

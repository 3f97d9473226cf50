"""The way between a process and a server: slow, cut in either direction, or one that breaks connections."""

from __future__ import annotations

from collections.abc import Callable

from .timeline import Timeline

QUICK_SECONDS = (50e-6, 400e-6)


class Direction:
    """One way of a link. What is under way arrives in order; what meets a cut is sent again once it is mended."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._held: list[Callable[[], None]] = []
        self._last_at = 0.0
        self.is_cut = False
        self.seconds = QUICK_SECONDS

    def send(self, deliver: Callable[[], None]) -> None:
        if self.is_cut:
            self._held.append(deliver)
            return
        timeline = self._timeline
        self._last_at = max(self._last_at, timeline.now + timeline.random.uniform(*self.seconds))
        timeline.push(self._last_at, None, deliver)

    def mend(self) -> None:
        self.is_cut = False
        held, self._held = self._held, []
        for deliver in held:
            self.send(deliver)


class Link:
    """Between one process and one server."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.up = Direction(timeline)
        self.down = Direction(timeline)
        self.break_chance = 0.0
        """Of one message: its connection is reset instead, and nobody knows whether it arrived."""
        self.is_over = False
        """The simulation ends: nothing arrives any more."""

    def breaks(self) -> bool:
        return self.break_chance > 0 and self._timeline.random.random() < self.break_chance

    def is_well(self) -> bool:
        directions = (self.up, self.down)
        return not self.break_chance and all(not d.is_cut and d.seconds == QUICK_SECONDS for d in directions)

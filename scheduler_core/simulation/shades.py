"""How busy an hour is, as one of a few levels: what the picture of the load is drawn with."""

from __future__ import annotations

from math import log

from scheduler_core.simulation.load import Load

LEVELS = 8
"""Beside nought: 0 is an hour without a fire."""


class Shades:
    """Levels of a load.

    The scale is logarithmic where the busiest hour has more than ten times the fires of the quietest, and else even:
    a job of every second must neither hide a stampede of hundreds nor be hidden by it.
    """

    def __init__(self, load: Load) -> None:
        counts = [count for hours in load.fires for count in hours if count]
        self.low, self.high = min(counts, default=0), max(counts, default=0)
        self.is_logarithmic = self.high > 10 * self.low

    def level(self, count: int) -> int:
        """0 for nothing, else 1 to LEVELS."""
        if count <= 0:
            return 0
        if self.high == self.low:
            return LEVELS // 2
        if self.is_logarithmic:
            share = log(count / self.low) / log(self.high / self.low)
        else:
            share = (count - self.low) / (self.high - self.low)
        return 1 + round(min(1.0, max(0.0, share)) * (LEVELS - 1))

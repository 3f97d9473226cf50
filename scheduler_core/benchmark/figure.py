"""A measured value, with the goal that it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report.

    Parameters: key, its name for programs, such as `throughput.fires_per_second`; says, its name for people; value and
    unit; at_least and at_most, the goal, if there is one; samples, the rounds that the value is the median of; note,
    what one must know to believe it; more_is_better, for figures without a goal.
    """

    key: str
    says: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    samples: tuple[float, ...] = ()
    note: str = ""
    more_is_better: bool = False

    @property
    def is_ratio(self) -> bool:
        """Whether the machine's speed cancels out of it."""
        return self.unit in {"%", "x"}

    @property
    def goal(self) -> float | None:
        return self.at_most if self.at_least is None else self.at_least

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    @property
    def rises(self) -> bool:
        """Whether a larger value is a better one."""
        return self.at_least is not None or (self.at_most is None and self.more_is_better)


def median(sample: Sequence[float]) -> float:
    """The middle value; the lower one of two, so that it is always one that was measured."""
    return percentile(sorted(sample), 50)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of an ascending sample that is not empty."""
    return ordered[max(1, ceil(len(ordered) * percent / 100)) - 1]

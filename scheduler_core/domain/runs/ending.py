"""How a call of a callback can end: each way has a row here, and whatever a callback does, it ends in one of these.

A callback may return, raise anything at all (also what is no `Exception`: pyo3's panics, GeneratorExit, SystemExit),
run into its time limit, be cancelled by an operator or cut off by a stop, or turn out not to have begun. What it can't
do is end in a way that leaves its run without an outcome: a process that dies is found by recovery, and all else is
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from scheduler_core.domain.runs.run import Failure


class How(Enum):
    """How one call ended. The first three are ends of the callback's own; the others are done to it."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "ran into its time limit"
    CANCELLED = "cancelled on request"
    CUT_OFF = "cut off by a stop"
    NOT_BEGUN = "not begun: the run goes back"
    LOCKED = "not begun: somebody else does the work"
    TOO_LATE = "not begun: its misfire policy drops it"


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one call; `failure` for those that failed, `note` for people where there is more to say."""

    how: How
    failure: Failure | None = None
    note: str = ""

    @property
    def is_own(self) -> bool:
        """Whether the attempt ended by itself: then it counts, and may be followed by another."""
        return self.how in _OWN


RETURNED = Ending(How.RETURNED)
CUT_OFF = Ending(How.CUT_OFF)
NOT_BEGUN = Ending(How.NOT_BEGUN)
LOCKED = Ending(How.LOCKED)
TOO_LATE = Ending(How.TOO_LATE)

_OWN = frozenset({How.RETURNED, How.RAISED, How.TIMED_OUT})

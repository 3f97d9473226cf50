"""Instants that were recorded while a fault had the database's clock hours off, as they were in truth. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from scheduler_core.drill.evidence import FaultRecord

SLACK = timedelta(seconds=2)


class RightTimes:
    """By the faults of a drill, which lasts for less than a clock is off: so no instant can be taken for another."""

    def __init__(self, faults: Sequence[FaultRecord]) -> None:
        self._off = [
            (fault.injected_at + off - SLACK, (fault.healed_at or fault.injected_at) + off + SLACK, off)
            for fault in faults
            if (off := timedelta(seconds=fault.clock_off_seconds))
        ]

    def right(self, recorded: datetime) -> datetime:
        """When it was."""
        return next((recorded - off for since, until, off in self._off if since <= recorded <= until), recorded)

    def right_or_none(self, recorded: datetime | None) -> datetime | None:
        """The same of an instant that need not be there."""
        return None if recorded is None else self.right(recorded)

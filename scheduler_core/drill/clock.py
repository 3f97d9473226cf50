"""The database's time without asking the database: what an instant of a fault is measured by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler_core.storage.reads.evidence import EvidenceReader

READINGS = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def at_wall(wall_ns: int) -> datetime:
    """This machine's own time at a reading of its wall clock: that of a Postgres here too."""
    return _EPOCH + wall_ns // 1_000 * _MICROSECOND


@dataclass(slots=True)
class DrillClock:
    """Offsets of the database's clock from this machine's two clocks, from the reading with the shortest way.

    All in whole microseconds; `error_us` bounds the offsets' error.
    """

    _from_monotonic_us: int = 0
    _from_wall_us: int = 0
    error_us: int = 0

    async def read(self, reader: EvidenceReader) -> None:
        """Measure anew. Raises ServerUnreachableError."""
        best: tuple[int, int] | None = None
        for _ in range(READINGS):
            sent_ns = time.monotonic_ns()
            now = await reader.now()
            received_ns = time.monotonic_ns()
            half_us = (received_ns - sent_ns) // 2_000
            if best is None or half_us < best[0]:
                best = half_us, (now - _EPOCH) // _MICROSECOND - (sent_ns + received_ns) // 2_000
        assert best is not None
        self.error_us, self._from_monotonic_us = best
        wall_ahead_us = (time.time_ns() - time.monotonic_ns()) // 1_000
        self._from_wall_us = self._from_monotonic_us - wall_ahead_us

    def now(self) -> datetime:
        """The database's time at this instant: no round trip."""
        return self.at_monotonic(time.monotonic_ns())

    def at_monotonic(self, monotonic_ns: int) -> datetime:
        """The database's time at a reading of the monotonic clock."""
        return _EPOCH + (monotonic_ns // 1_000 + self._from_monotonic_us) * _MICROSECOND

    def at_wall(self, wall_ns: int) -> datetime:
        """The database's time at a reading of the wall clock."""
        return _EPOCH + (wall_ns // 1_000 + self._from_wall_us) * _MICROSECOND

    def monotonic_at(self, instant: datetime) -> float:
        """The reading of the monotonic clock, in seconds, at an instant of the database's."""
        return ((instant - _EPOCH) // _MICROSECOND - self._from_monotonic_us) / 1e6

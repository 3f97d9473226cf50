"""The three clocks of a replica.

The database's clock says what is due. The local monotonic clock only sleeps. Leases are measured on a clock that
goes on while the machine is suspended (solid_queue #763, a zombie scheduler after a host's sleep).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

if hasattr(time, "CLOCK_BOOTTIME"):

    def boottime() -> float:
        """Seconds on a clock that never goes back and goes on during suspension."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover - not Linux

    def boottime() -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()


class Clock(Protocol):
    """The time that the executing of runs goes by: the database's, or a test's."""

    def now(self) -> datetime:
        """The instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that only grow, for distances."""

    def monotonic_at(self, instant: datetime) -> float:
        """What `monotonic` says at an instant."""

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """Cut off what runs inside it after so many seconds, as `asyncio.timeout` does."""

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event for at most so long; whether it came."""


@dataclass(slots=True)
class DatabaseClock:
    """The database's time between two answers of the database, carried forward by the monotonic clock.

    Each answer gives a bound on the offset: the reading lies between sending and receiving. The reading with
    the shortest way wins, until it is old enough for drift to matter.
    """

    _offset_seconds: float | None = None
    _error_seconds: float = float("inf")
    _read_at: float = 0.0

    DRIFT = 100e-6
    """Seconds per second that two honest clocks may part: widens an old reading's error."""

    def read(self, now: datetime, sent_at: float, received_at: float) -> None:
        """Take in one answer: `now` by the database, asked at `sent_at`, heard at `received_at` (monotonic)."""
        error = (received_at - sent_at) / 2
        age = received_at - self._read_at
        if error <= self._error_seconds + age * self.DRIFT or age > 10:
            self._offset_seconds = (now - _EPOCH).total_seconds() - (sent_at + received_at) / 2
            self._error_seconds = error
            self._read_at = received_at

    def now(self) -> datetime:
        """The database's time, as well as this process knows it; its own wall clock before the first answer."""
        if self._offset_seconds is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(time.monotonic() + self._offset_seconds, UTC)

    def monotonic(self) -> float:
        """The local clock for distances."""
        return time.monotonic()

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """`asyncio.timeout`: seconds are the same by every honest clock."""
        return asyncio.timeout(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event for at most so long; whether it came."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True

    def skew_seconds(self) -> float | None:
        """This machine's wall clock minus the database's; None before the first answer."""
        if self._offset_seconds is None:
            return None
        return time.time() - time.monotonic() - self._offset_seconds

    def monotonic_at(self, instant: datetime) -> float:
        """The reading of the monotonic clock at an instant of the database's."""
        offset = self._offset_seconds if self._offset_seconds is not None else time.time() - time.monotonic()
        return (instant - _EPOCH).total_seconds() - offset

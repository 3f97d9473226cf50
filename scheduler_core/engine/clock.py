"""The clocks of a replica.

The database's clock says what is due. Between two of its answers it is carried forward by a clock that nobody sets and
that goes on while the machine is suspended; leases are measured on the same one (solid_queue #763, a zombie
scheduler after a host's sleep). The local monotonic clock only sleeps.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from scheduler_core.domain.clock import Machine, Reading

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

if hasattr(time, "CLOCK_BOOTTIME"):

    def boottime() -> float:
        """Seconds on a clock that never goes back and goes on during suspension."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover - not Linux

    def boottime() -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()


class MachineClock(Protocol):
    """What a machine's own clocks show: the real one's (`SYSTEM_CLOCK`), or those of one that a simulation makes up."""

    def boottime(self) -> float:
        """Seconds on a clock that never goes back and goes on during suspension."""

    def monotonic(self) -> float:
        """Seconds on the clock that sleeps are measured on."""

    def wall_seconds(self) -> float:
        """Seconds since 1970 on a clock that may be set."""

    def boot_id(self) -> str:
        """Names what `boottime` counts from."""


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


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Names what `boottime` counts from: the same in every process of one start of one machine, and nowhere else."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # A container may have a time namespace of its own, whose boottime counts from elsewhere.
        return f"{started} {os.readlink('/proc/self/ns/time')}"
    except OSError:
        return f"process {uuid4()}"


class SystemClock:
    """The real ones: the plain functions themselves, but for the clock that a drill may set wrong in its process."""

    boottime = staticmethod(boottime)
    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def wall_seconds() -> float:
        return time.time()

    boot_id = staticmethod(boot_id)


SYSTEM_CLOCK: MachineClock = SystemClock()


def machine_now(clock: MachineClock = SYSTEM_CLOCK) -> Machine:
    """What this machine's own clocks show."""
    return Machine(clock.boot_id(), clock.boottime(), datetime.fromtimestamp(clock.wall_seconds(), UTC))


def reading_of(now: datetime, sent_at: float, received_at: float, clock: MachineClock = SYSTEM_CLOCK) -> Reading:
    """The database's time as an answer gave it, asked at `sent_at`, heard at `received_at` (boottime), just now."""
    machine = machine_now(clock)
    middle = (sent_at + received_at) / 2
    # The wall clock has no way back to the middle but through the other one.
    wall_at = datetime.fromtimestamp(clock.wall_seconds() - (machine.boottime_seconds - middle), UTC)
    return Reading(now, Machine(machine.boot, middle, wall_at), (received_at - sent_at) / 2)


@dataclass(slots=True)
class DatabaseClock:
    """The database's time between two answers of the database, carried forward by this machine's boottime.

    Each answer gives a bound on the offset: the reading lies between sending and receiving. The reading with the
    shortest way wins, until it is old enough for drift to matter, or an answer that can't be reconciled with it says
    that the database's clock was set.
    """

    machine: MachineClock = SYSTEM_CLOCK
    _offset_seconds: float | None = None
    _error_seconds: float = float("inf")
    _read_at: float = 0.0

    DRIFT = 100e-6
    """Seconds per second that two honest clocks may part: widens an old reading's error."""

    def read(self, now: datetime, sent_at: float, received_at: float) -> None:
        """Take in one answer: `now` by the database, asked at `sent_at`, heard at `received_at` (boottime)."""
        error = (received_at - sent_at) / 2
        offset = (now - _EPOCH).total_seconds() - (sent_at + received_at) / 2
        age = received_at - self._read_at
        known_error = self._error_seconds + age * self.DRIFT
        has_stepped = self._offset_seconds is not None and abs(offset - self._offset_seconds) > error + known_error
        if error <= known_error or has_stepped or age > 10:
            self._offset_seconds, self._error_seconds, self._read_at = offset, error, received_at

    @property
    def is_set(self) -> bool:
        """Whether there has been an answer."""
        return self._offset_seconds is not None

    def now(self) -> datetime:
        """The database's time, as well as this process knows it; its own wall clock before the first answer."""
        if self._offset_seconds is None:
            return datetime.fromtimestamp(self.machine.wall_seconds(), UTC)
        return datetime.fromtimestamp(self.machine.boottime() + self._offset_seconds, UTC)

    def monotonic(self) -> float:
        """The local clock for distances."""
        return self.machine.monotonic()

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
        return self.machine.wall_seconds() - self.machine.boottime() - self._offset_seconds

    def monotonic_at(self, instant: datetime) -> float:
        """The reading of the monotonic clock at an instant of the database's, unless the machine sleeps until then."""
        machine, offset = self.machine, self._offset_seconds
        if offset is None:
            offset = machine.wall_seconds() - machine.boottime()
        return machine.monotonic() + (instant - _EPOCH).total_seconds() - offset - machine.boottime()

"""A clock that stands still until somebody moves it, and the waits that hang on it."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.schedule import parse_instant

DEFAULT_START = datetime(2026, 1, 1, tzinfo=UTC)
"""A Thursday, midnight: a test that names no instant reads the same every day."""

_sleeper: ContextVar[Hashable] = ContextVar("scheduler_testing_sleeper", default=None)
"""On whose behalf the current task runs; tasks that a callback starts inherit it."""


@dataclass(order=True, slots=True)
class _Timer:
    instant: datetime
    number: int
    strike: Callable[[], None] = field(compare=False)
    is_cancelled: bool = field(default=False, compare=False)


class VirtualClock:
    """Time for tests. It moves when the test says so, and no second of it is waited for.

    A callback that is to last awaits `clock.sleep(seconds)`, or calls `clock.block(seconds)` if it is sync; what
    doesn't ask the clock takes no virtual time, however long it really runs. An instant is an aware datetime or an ISO
    string (without an offset it is UTC).

    Args:
        start: The instant at which it stands.

    Raises:
        InvalidScheduleError: `start` is naive, or can't be read.
    """

    def __init__(self, start: datetime | str = DEFAULT_START) -> None:
        self._now = as_instant(start)
        self._timers: list[_Timer] = []
        self._numbers = itertools.count()
        self._asleep: Counter[Hashable] = Counter()
        self._blocked: set[Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watcher: asyncio.Future[None] | None = None
        self.changes = 0
        """Grows whenever something begins to wait, is woken or ends: what stays the same has come to rest."""

    def now(self) -> datetime:
        """The virtual instant, aware, in UTC."""
        return self._now

    def set(self, instant: datetime | str) -> None:
        """Put the clock, and let nothing happen meanwhile: an outage, as the scheduler sees it afterwards.

        The next `advance` or `run_until_idle` finds what fell due, and the misfire policies decide about it.

        Args:
            instant: The instant, also one in the past.

        Raises:
            InvalidScheduleError: The instant is naive, or can't be read.
        """
        self._now = as_instant(instant)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has moved on by so many seconds.

        Args:
            seconds: How many, of virtual time.
        """
        await self.sleep_until(self._now + timedelta(seconds=seconds))

    async def sleep_until(self, instant: datetime | str) -> None:
        """Wait until the clock shows an instant.

        Args:
            instant: The instant; one that is past is not waited for.

        Raises:
            InvalidScheduleError: The instant is naive, or can't be read.
        """
        until = as_instant(instant)
        if until <= self._now:
            await asyncio.sleep(0)
            return
        self._loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = self._loop.create_future()
        who = _sleeper.get()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)
                # Awake from now on, although its task has not run yet.
                self._note(who, -1)

        timer = self._at(until, wake)
        self._note(who, +1)
        try:
            await woken
        finally:
            timer.is_cancelled = True
            if woken.cancelled():
                self._note(who, -1)

    def block(self, seconds: float) -> None:
        """The same as `sleep` for a sync callback, which runs in a thread: what `time.sleep` is in earnest.

        Args:
            seconds: How many, of virtual time.

        Raises:
            RuntimeError: No scheduler moves this clock.
        """
        if self._loop is None:
            raise RuntimeError(
                "clock.block belongs into a sync callback of a ManualScheduler: nothing moves this clock"
            )
        work: Future[None] = asyncio.run_coroutine_threadsafe(self.sleep(seconds), self._loop)
        self._blocked.add(work)
        try:
            work.result()
        finally:
            self._blocked.discard(work)

    @contextlib.asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """`asyncio.timeout`, by this clock.

        Args:
            seconds: How many, of virtual time.

        Yields:
            The limit, as `asyncio.timeout` does.

        Raises:
            TimeoutError: The clock has moved on by so many seconds inside.
        """
        async with asyncio.timeout(None) as limit:
            timer = self._at(self._now + timedelta(seconds=seconds), lambda: limit.reschedule(0.0))
            try:
                yield limit
            finally:
                timer.is_cancelled = True

    # As the scheduler asks it.

    def monotonic(self) -> float:
        """Seconds since the clock's epoch: they grow as the test moves the clock."""
        return self._now.timestamp()

    def monotonic_at(self, instant: datetime) -> float:
        """What `monotonic` says at an instant.

        Args:
            instant: An aware instant.

        Returns:
            Seconds since the clock's epoch.
        """
        return instant.timestamp()

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait by this clock.

        Args:
            event: What may come meanwhile; it does not end the wait.
            seconds: How many, of virtual time.

        Returns:
            Whether the event had come by then.
        """
        await self.sleep(seconds)
        return event.is_set()

    # For the scheduler that moves the clock.

    def attach(self) -> None:
        """Name the running loop as the one that sleepers wait in."""
        self._loop = asyncio.get_running_loop()

    @contextlib.contextmanager
    def on_behalf_of(self, who: Hashable) -> Iterator[None]:
        """Whoever sleeps inside, in whichever task, sleeps as `who`.

        Args:
            who: What `is_asleep` is asked by.
        """
        token = _sleeper.set(who)
        try:
            yield
        finally:
            _sleeper.reset(token)

    def is_asleep(self, who: Hashable) -> bool:
        """Whether something sleeps on behalf of `who`.

        Args:
            who: As `on_behalf_of` was given it.

        Returns:
            False also for one that never slept.
        """
        return self._asleep[who] > 0

    def next_instant(self) -> datetime | None:
        """When the next sleeper wakes or the next timeout strikes; None when nothing waits."""
        while self._timers and self._timers[0].is_cancelled:
            heapq.heappop(self._timers)
        return self._timers[0].instant if self._timers else None

    def strike(self) -> bool:
        """Wake whoever is due; False when nobody was."""
        struck = False
        while (instant := self.next_instant()) is not None and instant <= self._now:
            heapq.heappop(self._timers).strike()
            struck = True
        return struck

    def note_change(self) -> None:
        """Something began or ended."""
        self.changes += 1
        if self._watcher is not None and not self._watcher.done():
            self._watcher.set_result(None)

    async def changed(self) -> None:
        """Wait, really, until something has."""
        self._watcher = asyncio.get_running_loop().create_future()
        await self._watcher

    def release(self) -> None:
        """Let go of the threads that block on this clock; their callbacks see a CancelledError."""
        for work in list(self._blocked):
            work.cancel()

    def _at(self, instant: datetime, strike: Callable[[], None]) -> _Timer:
        timer = _Timer(instant, next(self._numbers), strike)
        heapq.heappush(self._timers, timer)
        return timer

    def _note(self, who: Hashable, change: int) -> None:
        self._asleep[who] += change
        if not self._asleep[who]:
            del self._asleep[who]
        self.note_change()


def as_instant(value: datetime | str) -> datetime:
    """An instant in UTC. A string without an offset is UTC; a naive datetime is InvalidScheduleError."""
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise InvalidScheduleError(
            f"the instant {value.isoformat()} has no time zone: give an aware datetime, or a string, which is UTC"
        )
    return parse_instant(value, "UTC")

"""What a simulated process has of its machine: the `Surroundings` of its election."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from scheduler_core.domain.runs.run import LoggerLike

from .timeline import Host, Timeline, VirtualLoop

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""What the clocks on the wall showed at the timeline's zero."""


class SimulatedThread:
    """As `LoopThread`, of a simulated process. Parameters as there."""

    def __init__(
        self,
        timeline: Timeline,
        host: Host,
        main: Callable[[], Coroutine[Any, Any, None]],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self.loop = VirtualLoop(timeline, host)
        self._main = main
        self._ended = ended
        self._has_ended: list[asyncio.Event] = []

    def start(self) -> None:
        self.loop.create_task(self._live())

    async def _live(self) -> None:
        error: BaseException | None = None
        try:
            await self._main()
        except BaseException as raised:
            error = raised
        others = [task for task in self.loop.tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.loop.close()
        self._ended(error)
        for joined in self._has_ended:
            joined.set()

    def post(self, step: Callable[..., Any], *arguments: Any) -> bool:
        if self.loop.is_closed():
            return False
        self.loop.call_soon_threadsafe(step, *arguments)
        return True

    async def join(self, timeout_seconds: float) -> None:
        if not self.loop.is_closed():
            joined, loop = asyncio.Event(), asyncio.get_running_loop()
            # Said by the other thread, and so in a step of this one's loop.
            self._has_ended.append(_Posted(joined, loop))  # type: ignore[arg-type]
            async with asyncio.timeout(timeout_seconds):
                await joined.wait()


class _Posted:
    def __init__(self, event: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        self._event, self._loop = event, loop

    def set(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)


class SimulatedCondition:
    """As `threading.Condition`: of all threads only one makes a step at a time, so there is nothing to lock."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None: ...

    def notify_all(self) -> None: ...

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return self._timeline.wait_in_step(loop, predicate, timeout)


class SimulatedMachine:
    """Its clock counts from an instant of its own: what two machines say never compares."""

    def __init__(self, timeline: Timeline, host: Host) -> None:
        self._timeline = timeline
        self._host = host
        self.dice = random.Random(timeline.random.getrandbits(64))
        self.boottime_at_zero = self.dice.uniform(0, 1e5)
        self._wall_ahead_seconds = self.dice.uniform(-1.0, 1.0)

    def boottime(self) -> float:
        return self._timeline.now + self.boottime_at_zero

    def monotonic(self) -> float:
        return self._timeline.now + self.boottime_at_zero / 2

    def wall_seconds(self) -> float:
        return EPOCH.timestamp() + self._timeline.now + self._wall_ahead_seconds

    def boot_id(self) -> str:
        """No two processes are on one machine."""
        return self._host.name

    def processor_seconds(self) -> float:
        return self._host.processor_seconds

    def thread(
        self,
        main: Callable[[], Coroutine[Any, Any, None]],
        *,
        name: str,
        logger: LoggerLike,
        ended: Callable[[BaseException | None], None],
    ) -> SimulatedThread:
        return SimulatedThread(self._timeline, self._host, main, ended)

    def condition(self) -> SimulatedCondition:
        return SimulatedCondition(self._timeline)

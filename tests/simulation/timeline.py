"""Virtual time: many event loops, of which one makes a step at a time, and a seed says which."""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

LONGEST_STEP_SECONDS = 40e-6
"""What one step of a loop takes at most. No two loops keep step, so each order of their steps has its chance."""


LONGEST_WAIT_FOR_THREAD_SECONDS = 0.01

MOST_CANCELS = 20
"""A task that has taken so many is not ours to end."""


class ProcessDiedError(BaseException):
    """Thrown into code that was waiting in a process which was killed meanwhile: nothing of it may go on."""


class StuckError(Exception):
    """Nothing is left to do, and nobody has come to an end."""


class Host:
    """What is killed, stopped and woken as one: a process, and all loops of its threads.

    Parameters: name, for people.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.stopped_until = 0.0
        """Until then none of its loops makes a step."""
        self.processor_seconds = 0.0


class VirtualLoop(asyncio.AbstractEventLoop):
    """One thread's event loop. What fails in it unheard is told to `timeline.failed`."""

    def __init__(self, timeline: Timeline, host: Host) -> None:
        self.timeline = timeline
        self.host = host
        self.ready: deque[asyncio.Handle] = deque()
        self.blocked_until = 0.0
        """Until then this loop alone makes no step: something blocks it."""
        self.waits = False
        """Whether its thread waits for another one, in the middle of a step."""
        self._closed = False
        timeline.loops.append(self)

    def time(self) -> float:
        return self.timeline.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.timeline.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.timeline.push(when, self, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when its time has come."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """A thread comes to it in a moment, and is done as soon; a stopped process stops its threads as well."""
        answered = self.create_future()
        worker = VirtualLoop(self.timeline, self.host)

        def tell(answer: Any, error: BaseException | None) -> None:
            if answered.done():
                return
            if error is None:
                answered.set_result(answer)
            else:
                answered.set_exception(error)

        def work() -> None:
            answer, error = None, None
            try:
                answer = func(*args)
            except BaseException as raised:
                error = raised
            worker.close()
            if not self._closed:
                self.call_soon_threadsafe(tell, answer, error)

        worker.call_later(self.timeline.random.random() * LONGEST_WAIT_FOR_THREAD_SECONDS, work)
        return answered

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that have not ended, in the order of their names' numbers: a set has none that two processes share."""
        return sorted(asyncio.all_tasks(self), key=lambda task: (len(task.get_name()), task.get_name()))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self.ready.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), ProcessDiedError):
            self.timeline.failed(f"{self.host.name}: {context['message']}: {context.get('exception')!r}")


class Timeline:
    """Parameters: seed, of everything that is left to chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.steps = 0
        self.loops: list[VirtualLoop] = []
        self.failed: Callable[[str], None] = lambda text: None
        """Told what nobody else hears of."""
        self._timers: list[tuple[float, int, VirtualLoop | None, Any]] = []
        self._count = 0

    def push(self, when: float, loop: VirtualLoop | None, what: Any) -> None:
        """Have something done at an instant: a handle by its loop, a plain function by nobody in particular."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, loop, what))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Have a function called that no process executes: the network's, a server's."""
        self.push(self.now + seconds, None, call)

    def step(self, limit: float = float("inf")) -> bool:
        """One step of one loop, or on to the next instant; False if there is nothing to wait for before `limit`."""
        timers, now = self._timers, self.now
        while timers and timers[0][0] <= now:
            _, _, loop, what = heapq.heappop(timers)
            if loop is None:
                what()
            elif not what._cancelled and not loop._closed:
                loop.ready.append(what)
        able = [
            loop
            for loop in self.loops
            if loop.ready
            and not loop.waits
            and loop.blocked_until <= now
            and loop.host.stopped_until <= now
            and not loop.host.is_dead
        ]
        if not able:
            return self._go_on(limit)
        loop = able[int(self.random.random() * len(able))] if len(able) > 1 else able[0]
        handle = loop.ready.popleft()
        self.steps += 1
        if not handle._cancelled:
            took = self.random.random() * LONGEST_STEP_SECONDS
            loop.host.processor_seconds += took
            self.now += took
            events._set_running_loop(loop)
            handle._run()
            events._set_running_loop(None)
        return True

    def _go_on(self, limit: float) -> bool:
        """To the next instant at which something may happen."""
        instants = [self._timers[0][0]] if self._timers else []
        for loop in self.loops:
            if loop.ready and not loop.host.is_dead and not loop.waits:
                instants.append(max(loop.blocked_until, loop.host.stopped_until))
        if not instants:
            return False
        self.now = max(self.now, min(*instants, limit) if len(instants) > 1 else min(instants[0], limit))
        return self.now < limit

    def wait_in_step(self, loop: VirtualLoop, predicate: Callable[[], bool], seconds: float) -> bool:
        """What a thread that blocks in the middle of a step sees: the others go on until the predicate is true."""
        deadline = self.now + seconds
        loop.waits = True
        try:
            while not predicate() and self.now < deadline:
                self.step(deadline)
            while loop.host.stopped_until > self.now and not loop.host.is_dead:
                self.step(loop.host.stopped_until)
        finally:
            loop.waits = False
            events._set_running_loop(loop)
        if loop.host.is_dead:
            raise ProcessDiedError
        return predicate()

    def run(self, main: Coroutine[Any, Any, Any], is_over: Callable[[], bool] = lambda: False) -> Any:
        """Run until this coroutine has ended, in a loop that nothing stops, or until it is over; returns its result."""
        task = VirtualLoop(self, Host("director")).create_task(main)
        while not task.done() and not is_over():
            if not self.step() and not task.done():
                raise StuckError
        return task.result() if task.done() else None

    def dispose(self) -> None:
        """End whatever is still going on: of a coroutine that is left behind nobody knows when it ends."""
        for loop in self.loops:
            loop.host.is_dead, loop.host.stopped_until, loop.blocked_until = False, 0.0, 0.0
        for _ in range(MOST_CANCELS):
            tasks = [task for loop in self.loops for task in loop.tasks()]
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            for _ in range(10_000):
                if all(task.done() for task in tasks) or not self.step():
                    break
        for loop in self.loops:
            loop.close()
        self._timers.clear()

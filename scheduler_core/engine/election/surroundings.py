"""What a replica has of the machine that it runs on: its clocks, its dice, its threads.

Nothing in the election, and nothing that claims, executes, records and recovers, reads a clock, draws or starts a
thread by itself: it has these from whoever made it. So the same code runs in a simulation, where an hour takes seconds
and a seed plays it again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.clock import MachineClock, SystemClock
from scheduler_core.runtime.loop_thread import LoopThread


class Dice(Protocol):
    """Where chance comes from: pauses that are not to be alike, names that are to be fresh."""

    def uniform(self, a: float, b: float, /) -> float:
        """A number between the two."""

    def randbytes(self, n: int, /) -> bytes:
        """So many bytes that nobody has had before."""


class ElectionThread(Protocol):
    """A thread with a loop of its own, as `LoopThread` is one."""

    def start(self) -> None: ...

    def post(self, step: Callable[..., Any], *arguments: Any) -> bool: ...

    async def join(self, timeout_seconds: float) -> None: ...


class Condition(Protocol):
    """What one thread waits for and another one tells, as `threading.Condition` does it."""

    def __enter__(self) -> bool: ...

    def __exit__(self, *_: Any) -> None: ...

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool: ...

    def notify_all(self) -> None: ...


class Surroundings(MachineClock, Protocol):
    """The machine as a replica sees it: the real one (`THIS_MACHINE`), or one that a simulation makes up."""

    @property
    def dice(self) -> Dice: ...

    def processor_seconds(self) -> float:
        """How much of a processor's time this process has had."""

    def thread(
        self,
        main: Callable[[], Coroutine[Any, Any, None]],
        *,
        name: str,
        logger: LoggerLike,
        ended: Callable[[BaseException | None], None],
    ) -> ElectionThread:
        """A thread for one coroutine, not started yet."""

    def condition(self) -> Condition:
        """Something to wait for between two threads."""


class ThisMachine(SystemClock):
    """The real ones. What is called often is the plain function itself."""

    # The system's own: `random.seed(0)` in somebody's code must not have two replicas draw alike.
    dice: Dice = random.SystemRandom()
    processor_seconds = staticmethod(time.process_time)

    def thread(
        self,
        main: Callable[[], Coroutine[Any, Any, None]],
        *,
        name: str,
        logger: LoggerLike,
        ended: Callable[[BaseException | None], None],
    ) -> ElectionThread:
        return LoopThread(main, name=name, logger=logger, ended=ended)

    def condition(self) -> Condition:
        return threading.Condition()


THIS_MACHINE: Surroundings = ThisMachine()


def fresh_nonce(dice: Dice) -> str:
    """A name that no claim has had."""
    return dice.randbytes(16).hex()

"""What ends a process of ours, and how fast.

The first SIGINT, SIGTERM or SIGHUP asks: hand over, let running work end. A second SIGINT or SIGTERM ends the process
at once, and what was begun is left to recovery. SIGHUP never counts as the second one: a terminal that is closed sends
it from the kernel and from the shell, and systemd may send it right behind SIGTERM. `nohup` keeps its meaning.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from scheduler_core.runtime.child_processes import kill_children

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

LAST_WORDS_SECONDS = 1.0
"""For the log line of an end at once: whoever reads the log may have stopped reading."""

LEFT_SECONDS = 5.0
"""For tasks and threads that are left when all is done."""


class StopSignals:
    """Installed in the main thread, for as long as the process lives.

    Parameters: asked, called in the event loop of whoever makes this, each time; tell, logs a line; abandon, called
    before an end at once; signals, those that ask.
    """

    def __init__(
        self,
        asked: Callable[[], None],
        *,
        tell: Callable[[str], object],
        abandon: Callable[[], None] = lambda: None,
        signals: Sequence[signal.Signals] = ASKING,
    ) -> None:
        self._asked = asked
        self._tell = tell
        self._abandon = abandon
        self._loop = asyncio.get_running_loop()
        self._was_asked = False
        for number in signals:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                # Not the loop's own way: a callback that blocks the loop must not keep the second one waiting.
                signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            if self._was_asked:
                self._end_at_once(signal.Signals(number))
            self._was_asked = True
        with contextlib.suppress(RuntimeError):  # the loop has ended: so does the process
            self._loop.call_soon_threadsafe(self._asked)

    def _end_at_once(self, number: signal.Signals) -> None:
        def last_words() -> None:
            self._abandon()
            self._tell(f"asked to stop again ({number.name}): ending at once; what was begun is left to recovery")

        end_at_once(128 + number, last_words)


def end_at_once(code: int, last_words: Callable[[], object]) -> NoReturn:
    """End this process and its children without another step; what was begun is left to recovery."""
    # Whatever holds the last words up.
    limit = threading.Timer(LAST_WORDS_SECONDS, os._exit, [code])
    limit.daemon = True
    limit.start()
    # Whatever fails here, the process ends with the code that it was given.
    with contextlib.suppress(Exception):
        kill_children()
        last_words()
    os._exit(code)


def end_cancelled(tell: Callable[[str], object]) -> NoReturn:
    """A callback has cancelled every task of the loop: what this process lives by has gone with them."""
    told = "a callback has cancelled tasks that are not its own, those of this process among them: ending at once"
    end_at_once(1, lambda: tell(f"{told}; what was begun is left to recovery"))


def limit_the_end(tell: Callable[[str], object]) -> None:
    """All is done and handed over: what a callback has left behind keeps this process no longer than `LEFT_SECONDS`.

    Python waits without end for a thread that nobody ends, and the loop for a task that takes no cancel.
    """
    told = (
        f"ending without the threads or tasks that callbacks have left behind: they did not end in {LEFT_SECONDS:g} s"
    )
    limit = threading.Timer(LEFT_SECONDS, end_at_once, [0, lambda: tell(told)])
    limit.daemon = True
    limit.start()

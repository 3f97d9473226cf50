"""A thread with an event loop of its own: what must go on whatever the process's other loops are doing."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.runtime.event_loops import run_to_its_end

T = TypeVar("T")


class LoopThread:
    """One coroutine, run from start to end in a daemon thread; others may be handed in while it runs.

    Parameters: main, makes the coroutine; ended, called in the thread once the loop is closed, with what `main` raised
    or None; make_loop, the kind of loop.
    """

    def __init__(
        self,
        main: Callable[[], Coroutine[Any, Any, None]],
        *,
        name: str,
        logger: LoggerLike,
        ended: Callable[[BaseException | None], None],
        make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self._main = main
        self._logger = logger
        self._ended = ended
        # Made here, so that whatever is handed in right after `start` finds it; it runs in the thread alone.
        self._loop = make_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin. At most once."""
        self._thread.start()

    def post(self, step: Callable[..., Any], *arguments: Any) -> bool:
        """Have a plain function called in the loop; False if the loop has ended, and it never will be."""
        try:
            self._loop.call_soon_threadsafe(step, *arguments)
        except RuntimeError:  # closed, perhaps in this very moment
            return False
        return True

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Have a coroutine run in the loop. Raises RuntimeError if the loop has ended."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise

    async def join(self, timeout_seconds: float) -> None:
        """Wait until the thread has ended, and not longer than this."""
        await asyncio.to_thread(self._thread.join, timeout_seconds)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                run_to_its_end(runner, self._main(), self._logger)
        except BaseException as raised:  # noqa: BLE001 - a thread's last words, for whoever waits for it
            error = raised
        self._ended(error)

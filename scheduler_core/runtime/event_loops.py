"""Event loops of our own processes: what a callback's task raises ends neither them nor the process.

asyncio lets SystemExit and KeyboardInterrupt out of the loop, whichever task they come from: a callback whose child
task calls `sys.exit()` would take its replica along (sidekiq #3400, #4633). The task has ended by then, and whoever
awaits it sees the exception; the loop itself is as it was, and goes on. So it does where a callback stops it. A service
that runs the scheduler in a loop of its own decides for itself.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from scheduler_core.domain.runs.run import LoggerLike

T = TypeVar("T")

STOPPED = "a callback has stopped the event loop: it goes on"


def run_to_its_end(runner: asyncio.Runner, main: Coroutine[Any, Any, T], logger: LoggerLike) -> T:
    """Run `main` until it has ended, whatever other tasks of the loop raise meanwhile."""
    loop = runner.get_loop()
    task = loop.create_task(main, name="main")
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as error:
            if task.done() or not _is_a_tasks(error):
                raise
            _report(error, logger)
        except RuntimeError:
            if task.done() or loop.is_closed():
                raise
            logger.error(STOPPED)


def _is_a_tasks(error: BaseException) -> bool:
    """Not where the interpreter itself interrupts: nobody has taken the signal over."""
    return not isinstance(error, KeyboardInterrupt) or signal.getsignal(signal.SIGINT) != signal.default_int_handler


def _report(error: BaseException, logger: LoggerLike) -> None:
    logger.error("a task that a callback has started raised %s: that ends the task, and no replica", repr(error))

"""Cancel work at each step of its way: every time that it waits, and in the moment that what it waited for arrives."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Generator
from enum import StrEnum
from typing import Any

HANGS_SECONDS = 60.0


class When(StrEnum):
    """When a task is cancelled that waits for the n-th time."""

    WAITING = "while it waits"
    ARRIVED = "as what it waited for arrives"
    AGAIN = "while it waits, and each time that it waits from then on"


async def cancel_at(work: Coroutine[Any, Any, Any], step: int, when: When) -> bool:
    """Do the work in a task of its own and cancel that at this step; whether the work had so many.

    What the work raises is of no concern; that it ends is.
    """
    cancelled = _Cancelled(work, step, when)

    async def run() -> None:
        await cancelled

    task = asyncio.create_task(run(), name=f"cancelled at step {step}")
    done, _ = await asyncio.wait({task}, timeout=HANGS_SECONDS)
    assert done, f"it does not end, cancelled at step {step} {when}"
    await asyncio.gather(task, return_exceptions=True)
    return cancelled.steps >= step


class _Cancelled:
    """Awaits a coroutine, as `await` does, and counts how often that waits. Tasks that it makes are its own affair."""

    def __init__(self, work: Coroutine[Any, Any, Any], step: int, when: When) -> None:
        self.steps = 0
        self._work = work
        self._step = step
        self._when = when

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        for self.steps in itertools.count():
            try:
                waited = self._work.send(value) if error is None else self._work.throw(error)
            except StopIteration as end:
                return end.value
            self._cancel(waited, self.steps + 1)
            value = error = None
            try:
                value = yield waited
            except BaseException as thrown:
                error = thrown
        raise AssertionError("it counts without end")

    def _cancel(self, waited: Any, step: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        if step == self._step and self._when is When.ARRIVED and waited is not None:
            waited.add_done_callback(lambda _: task.cancel())
        elif step == self._step or (step > self._step and self._when is When.AGAIN):
            asyncio.get_running_loop().call_soon(task.cancel)

"""A thread with a loop of its own: what is handed in is done or refused, and how it ended is told."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from scheduler_core.runtime.loop_thread import LoopThread

JOIN_SECONDS = 10.0


class Lived:
    """A thread that lives until it is told to end, and what it said when it had ended."""

    def __init__(self, fails_with: BaseException | None = None) -> None:
        self.ends = asyncio.Event()
        self.last_words: list[BaseException | None] = []
        self._fails_with = fails_with
        logger = logging.getLogger("test")
        self.thread = LoopThread(self._main, name="lived", logger=logger, ended=self.last_words.append)

    async def _main(self) -> None:
        await self.ends.wait()
        if self._fails_with is not None:
            raise self._fails_with

    async def end(self) -> None:
        assert self.thread.post(self.ends.set)
        await self.thread.join(JOIN_SECONDS)


async def answer() -> int:
    return 42


async def test_what_is_handed_in_is_done_in_the_thread() -> None:
    lived = Lived()
    lived.thread.start()
    assert await asyncio.wrap_future(lived.thread.submit(answer())) == 42
    await lived.end()
    assert lived.last_words == [None]


async def test_what_is_handed_in_before_the_loop_runs_waits_for_it() -> None:
    lived = Lived()
    assert lived.thread.post(lived.ends.set)
    lived.thread.start()
    await lived.thread.join(JOIN_SECONDS)
    assert lived.last_words == [None]


async def test_what_comes_too_late_is_refused() -> None:
    lived = Lived()
    lived.thread.start()
    await lived.end()
    assert not lived.thread.post(lived.ends.set)
    with pytest.raises(RuntimeError):
        lived.thread.submit(answer())


async def test_how_it_ended_is_told() -> None:
    error = ValueError("broken")
    lived = Lived(error)
    lived.thread.start()
    await lived.end()
    assert lived.last_words == [error]


async def test_a_task_that_ends_the_program_ends_only_itself() -> None:
    async def leave() -> None:
        sys.exit(3)

    lived = Lived()
    lived.thread.start()
    with pytest.raises(SystemExit):
        await asyncio.wrap_future(lived.thread.submit(leave()))
    assert await asyncio.wrap_future(lived.thread.submit(answer())) == 42
    await lived.end()
    assert lived.last_words == [None]

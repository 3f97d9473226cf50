"""Waiting for something that another process does: asked again and again, for a bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02


def eventually(ask: Callable[[], T], *, within_seconds: float = 30.0, what: str = "") -> T:
    """The first true answer. Fails with the last answer when time is up."""
    deadline = time.monotonic() + within_seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {what or ask}; last answer {answer!r}"
        time.sleep(POLL_SECONDS)


async def eventually_async(ask: Callable[[], Awaitable[T] | T], *, within_seconds: float = 30.0, what: str = "") -> T:
    """The same inside an event loop; the asking may have to be awaited."""
    deadline = time.monotonic() + within_seconds
    while True:
        asked = ask()
        answer = await asked if isinstance(asked, Awaitable) else asked
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {what or ask}; last answer {answer!r}"
        await asyncio.sleep(POLL_SECONDS)

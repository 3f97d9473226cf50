"""Ending tasks: a cancellation that somebody swallowed is said again.

In Python 3.11 `asyncio.wait_for` swallows one that comes in the very moment in which what it waited for has ended, and
drivers use it. A loop that goes on for ever then goes on, and whoever waits for its end would wait as long.
"""

from __future__ import annotations

import asyncio
from typing import Any

SAY_AGAIN_SECONDS = 5.0
"""More than anything of ours takes to clear up: what is said again ends that too."""


async def end_tasks(*tasks: asyncio.Task[Any], say_again_seconds: float = SAY_AGAIN_SECONDS) -> None:
    """Cancel these and wait until each has ended; what they raise tells nobody anything.

    Parameters: say_again_seconds, after which one that goes on is cancelled once more.
    """
    left = {task for task in tasks if not task.done()}
    for task in left:
        if not task.cancelling():
            task.cancel()
    while left:
        _, left = await asyncio.wait(left, timeout=say_again_seconds)
        for task in left:
            task.cancel()
    for task in tasks:
        if not task.cancelled():
            task.exception()

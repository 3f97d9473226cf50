"""Tasks that are ended: also those that have swallowed the first word."""

from __future__ import annotations

import asyncio

import pytest

from scheduler_core.runtime.task_ends import end_tasks


async def test_a_swallowed_cancellation_is_said_again() -> None:
    """CPython #86296: `wait_for` swallows one that comes together with what it waited for."""
    swallowed = 0

    async def loop_for_ever() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    task = asyncio.create_task(loop_for_ever())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_tasks(task, say_again_seconds=0.01)
    assert task.cancelled()
    assert swallowed == 2


async def test_what_clears_up_is_waited_for_and_cancelled_once() -> None:
    cleared_up: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleared_up.append("done")

    tasks = [asyncio.create_task(work()) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await end_tasks(*tasks)
    assert cleared_up == ["done", "done"]


async def test_what_they_raise_is_nobodys() -> None:
    async def fail() -> None:
        raise ValueError("nobody waits for this")

    failed = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await end_tasks(failed)


async def test_whoever_waits_may_be_cancelled() -> None:
    async def stay() -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    go = asyncio.Event()
    staying = asyncio.create_task(stay())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(end_tasks(staying))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    await staying

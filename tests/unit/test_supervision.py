"""Tasks that must not end while the replica lives."""

from __future__ import annotations

import asyncio
import logging

import pytest

from scheduler_core.engine import supervision
from scheduler_core.engine.supervision import keep_going


async def test_work_begins_again_after_an_error_that_nobody_foresaw(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "RESTART_SECONDS", 0)
    begun = []

    async def work() -> None:
        begun.append(1)
        if len(begun) < 3:
            raise RuntimeError("the transport is closed")

    await keep_going(work, "the loop", logging.getLogger("scheduler_core"))
    assert len(begun) == 3
    assert "the loop failed and begins again" in caplog.text


async def test_a_cancelled_task_ends() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_going(work, "the loop", logging.getLogger("scheduler_core")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

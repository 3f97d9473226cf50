"""One attempt: what is asked before a callback's first line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import pytest

from scheduler_core import RunContext, ScheduleJob
from scheduler_core.domain.errors import NotLeaderError
from scheduler_core.engine.execution import attempt
from scheduler_core.engine.registry import describe

CONTEXT = RunContext(UUID(int=1), "j", datetime(2026, 1, 1, tzinfo=UTC), 1, 1, "j@", None, None, lambda: True)


@pytest.mark.parametrize("leads", [True, False])
async def test_a_sync_callback_asks_again_once_it_has_a_thread(leads: bool) -> None:
    """I7: a replica that was stopped while the call waited for its thread leads no more when it wakes."""
    called = []

    def callback() -> None:
        called.append(1)

    definition = ScheduleJob("j", "J", "once", None, callback).definition("UTC")
    with ThreadPoolExecutor(1) as threads:
        work = attempt(describe("j", callback), definition, CONTEXT, threads, lambda: leads)
        if leads:
            assert await work is None
        else:
            with pytest.raises(NotLeaderError):
                await work
    assert bool(called) == leads

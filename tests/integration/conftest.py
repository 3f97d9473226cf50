"""What the integration tests share: a started scheduler that leads."""

from __future__ import annotations

import pytest
from waiting import eventually_async

from scheduler_core import Container
from scheduler_core.engine.scheduler import BaseScheduler


@pytest.fixture
async def scheduler(container: Container) -> BaseScheduler:
    started = await container.start()
    await eventually_async(lambda: started.is_leader, what="leading")
    return started

"""The pytest plugin: fixtures for jobs in virtual time. Installed with the package, it needs no `-p`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from scheduler_core.testing import ManualScheduler, VirtualClock


@pytest.fixture
def scheduler_clock() -> VirtualClock:
    """A clock that stands at 2026-01-01T00:00Z until the test moves it; override it for another beginning."""
    from scheduler_core.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def manual_scheduler(scheduler_clock: VirtualClock) -> Iterator[ManualScheduler]:
    """A scheduler without jobs, on `scheduler_clock`. Works with any way of running async tests."""
    from scheduler_core.testing import ManualScheduler

    scheduler = ManualScheduler(scheduler_clock)
    yield scheduler
    scheduler.close()

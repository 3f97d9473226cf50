"""For users' tests: run your jobs in virtual time, without servers and without waiting (docs/testing.md).

`VirtualClock` is time that you set, `ManualScheduler` fires jobs as the clock moves, `RecordedRun` is what came of
one occurrence. With pytest the fixtures `scheduler_clock` and `manual_scheduler` are there by themselves (`plugin`).

Names resolve on first use: pytest loads the plugin in every session of every project that has us installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scheduler_core.testing.clock import VirtualClock
    from scheduler_core.testing.errors import VirtualTimeError
    from scheduler_core.testing.manual_scheduler import ManualScheduler
    from scheduler_core.testing.recorded import RecordedRun

__all__ = ["ManualScheduler", "RecordedRun", "VirtualClock", "VirtualTimeError"]

_PLACES = {
    "ManualScheduler": "manual_scheduler",
    "RecordedRun": "recorded",
    "VirtualClock": "clock",
    "VirtualTimeError": "errors",
}

if not TYPE_CHECKING:  # else a checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
        globals()[name] = value
        return value

"""Everything that a scheduler keeps outside of its process, as one value."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from scheduler_core.ports.clock import DatabaseTime
from scheduler_core.ports.election import ControlSession, Lease
from scheduler_core.ports.jobs import Calendars, Jobs
from scheduler_core.ports.runs import OfferListener, Requests, Runs


@dataclass(frozen=True, slots=True)
class Storage:
    """Everything that a scheduler keeps outside of its process."""

    jobs: Jobs
    runs: Runs
    requests: Requests
    calendars: Calendars
    clock: DatabaseTime
    offers: OfferListener
    open_control: Callable[[], ControlSession]
    open_lease: Callable[[], Lease | None]
    """Called in the keeper's thread: clients belong to the event loop that made them."""
    maintain: Callable[[], Coroutine[Any, Any, None]]
    """Have tomorrow's partitions, drop those past their time; the leader asks for it now and then."""

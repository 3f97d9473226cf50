"""What every part of one replica's engine is given: one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler_core.domain.election.trust import Timing
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.clock_guard import ClockGuard
from scheduler_core.engine.counters import Counters
from scheduler_core.ports.election import Instance
from scheduler_core.ports.storage import Storage


@dataclass(frozen=True, slots=True)
class ReplicaContext:
    """See the module."""

    instance: Instance
    timing: Timing
    storage: Storage
    clock_guard: ClockGuard
    counters: Counters
    logger: LoggerLike

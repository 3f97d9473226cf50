"""`python -m bench counters`: what counting a fire for /metrics costs, and saying which run a log line belongs to."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduler_core.domain.runs.run import Origin, Outcome, Run, RunStatus
from scheduler_core.engine.counters import Counters
from scheduler_core.engine.fire.log_context import CURRENT_RUN

FIRES = 20_000
ROUNDS = 30
BATCHES = (2_000, 100, 20, 1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def main() -> None:
    """Best of many rounds: what the machine does besides only adds."""
    outcomes = [_outcome(number) for number in range(FIRES)]
    counters = Counters()
    for size in BATCHES:
        batches = [outcomes[at : at + size] for at in range(0, FIRES, size)]

        def count(batches: list[list[Outcome]] = batches) -> None:
            for batch in batches:
                counters.outcomes_recorded(batch, frozenset())

        print(f"counted in batches of {size:>5,}: {_each(count):.2f} µs per fire")
    tasks = [copy_context() for _ in range(FIRES)]

    def set_in_each(value: Any) -> None:
        for context in tasks:
            context.run(CURRENT_RUN.set, value)

    def nothing_in_each() -> None:
        for context in tasks:
            context.run(_nothing, None)

    said = _each(lambda: set_in_each(None)) - _each(nothing_in_each)
    print(f"the run of a log line:           {said:.2f} µs per fire")


def _each(work: Callable[[], object]) -> float:
    """Microseconds per fire."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best / FIRES * 1e6


def _nothing(_value: Any) -> None: ...


def _outcome(number: int) -> Outcome:
    started_at = NOON + timedelta(microseconds=number * 7919 % 5_000)
    run = Run(UUID(int=number), f"j{number}", NOON, NOON, Origin.SCHEDULE, 1, 1)
    finished_at = started_at + timedelta(microseconds=number * 104_729 % 900)
    return Outcome(run, RunStatus.SUCCEEDED, 1, None, started_at, finished_at)

"""How much of everything a run of the measures takes: the usual sizes, and small ones that only show that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts and durations of all measures; durations in seconds."""

    fires_at_once: int = 20_000
    rounds: int = 5
    rates_per_second: tuple[int, ...] = (100, 1_000, 5_000)
    lateness_seconds: float = 30.0
    warm_up_seconds: float = 5.0
    stored_jobs: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    tick_seconds: float = 20.0
    added_in_bulk: int = 50_000
    added_one_by_one: int = 500
    kills: int = 30
    idle_seconds: float = 30.0
    outage_seconds: float = 30.0
    imports: int = 7
    computed_jobs: int = 100_000


QUICK = Sizes(
    fires_at_once=2_000,
    rounds=2,
    rates_per_second=(100, 1_000),
    lateness_seconds=4.0,
    warm_up_seconds=2.0,
    stored_jobs=(500, 5_000),
    tick_seconds=2.0,
    added_in_bulk=2_000,
    added_one_by_one=50,
    kills=1,
    idle_seconds=3.0,
    outage_seconds=2.0,
    imports=2,
    computed_jobs=2_000,
)

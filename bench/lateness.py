"""Lateness of evenly spread fires at several rates: the measure of `scheduler bench`, at more rates."""

from __future__ import annotations

from bench.sizes import Sizes
from scheduler_core.benchmark import lateness
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.stage import Servers


async def measure(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Percentiles at each rate, by the record and by the callback's own clock."""
    return await lateness.measure(servers, sizes.rates_per_second, sizes.lateness_seconds, sizes.warm_up_seconds)

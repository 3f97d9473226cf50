"""Durable throughput, and the limit that the same server has for the same rows, in turn: a noisy moment hits both."""

from __future__ import annotations

from contextlib import aclosing

from bench.limit import BATCH, Limit
from bench.sizes import Sizes
from scheduler_core.benchmark import throughput
from scheduler_core.benchmark.figure import Figure, median
from scheduler_core.benchmark.stage import Servers


async def measure(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Both, and their ratio, round by round."""
    fires = sizes.fires_at_once
    played: list[throughput.Round] = []
    batched: list[float] = []
    at_once: list[float] = []
    async with servers.stage("limit") as beside, servers.stage("throughput") as stage:
        limit = Limit(beside, fires)
        await limit.prepare()
        await limit.play(BATCH)
        async with aclosing(throughput.rounds(stage, fires, sizes.rounds)) as rounds:
            async for one in rounds:
                played.append(one)
                batched.append(round(await limit.play(BATCH), 1))
                at_once.append(round(await limit.play(fires), 1))
                servers.tell(f"{one.per_second:,.0f} fires/s; the limit {max(batched[-1], at_once[-1]):,.0f}/s")
    limits = map(max, zip(batched, at_once, strict=True))
    shares = tuple(round(one.per_second / limit * 100, 2) for one, limit in zip(played, limits, strict=True))
    share = Figure(
        "throughput.percent_of_limit",
        "durable throughput / plain SQL",
        median(shares),
        "%",
        samples=shares,
        note="of each round and the limit right after it, the faster of its two ways",
        more_is_better=True,
    )
    how = "cursor, run, outcome and counters of as many jobs, in SQL alone, one session"
    return [
        share,
        *throughput.figures(played),
        _limit("batched", f"the limit, {BATCH:,} jobs per pair of statements", batched, how),
        _limit("at_once", "the limit, all jobs in one pair of statements", at_once, how),
    ]


def _limit(key: str, says: str, samples: list[float], note: str) -> Figure:
    return Figure(
        f"limit.{key}", says, median(samples), "fires/s", samples=tuple(samples), note=note, more_is_better=True
    )

"""Durable throughput: so many no-op jobs fall due at one instant; it ends when every outcome is committed.

The jobs are INTERVAL jobs of one phase, so that each period brings a round. The clock of a round starts 50 ms before
the instant, when the first of its runs may be claimed, and stops at the first look, one every 20 ms, that finds no
cursor at the instant any more and no run that has not ended. The first round is the warm-up: in it the leader reads
the definitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler_core.benchmark import callbacks
from scheduler_core.benchmark.figure import Figure, median
from scheduler_core.benchmark.replica import Replica
from scheduler_core.benchmark.stage import Stage
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.engine.fire.claiming import CLAIM_AHEAD_SECONDS

AHEAD = timedelta(seconds=CLAIM_AHEAD_SECONDS)
SLOWEST_PER_SECOND = 1_000
"""Fires per second that a round's time is enough for."""

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Round:
    """One instant at which all jobs were due."""

    fires: int
    seconds: float
    leader_cpu_seconds: float | None
    postgres_cpu_seconds: float | None

    @property
    def per_second(self) -> float:
        return self.fires / self.seconds


def period_seconds(fires: int) -> int:
    """From one round to the next."""
    return 3 + fires // SLOWEST_PER_SECOND


async def rounds(stage: Stage, fires: int, count: int) -> AsyncGenerator[Round]:
    """Play a warm-up and then `count` rounds; what the caller does between two of them is not measured.

    Raises SchedulerError if a round does not end within its period, or a job did not succeed.
    """
    period = period_seconds(fires)
    jobs = [
        ScheduleJob(f"job-{n:07}", f"Job {n}", "interval", period, callbacks.work, start_at=EPOCH, misfire_grace=3600)
        for n in range(fires)
    ]
    async with stage.leader() as leader:
        await stage.add_jobs(jobs)
        await stage.reader.tidy()
        for number in range(count + 1):
            played = await _play(stage, leader, fires, period)
            if number > 0:
                yield played


async def _play(stage: Stage, leader: Replica, fires: int, period: int) -> Round:
    now, _ = await stage.reader.left(EPOCH)
    instant = EPOCH + ((now - EPOCH) // timedelta(seconds=period) + 1) * timedelta(seconds=period)
    if (instant - now).total_seconds() < 0.5:
        instant += timedelta(seconds=period)
    await asyncio.sleep((instant - now).total_seconds() - 0.2)
    before = leader.cpu_seconds(), stage.servers.postgres_cpu_seconds()
    ended = await stage.ended(instant, leader, period - 1.0)
    after = leader.cpu_seconds(), stage.servers.postgres_cpu_seconds()
    succeeded, others = await stage.reader.recorded(instant, instant + timedelta(microseconds=1))
    if (succeeded, others) != (fires, 0):
        raise SchedulerError(f"of {fires} runs {succeeded} succeeded, {others} did not: nothing was measured")
    used = [None if a is None or b is None else a - b for a, b in zip(after, before, strict=True)]
    return Round(fires, (ended - (instant - AHEAD)).total_seconds(), *used)


def figures(played: Sequence[Round]) -> list[Figure]:
    """What the rounds come to."""
    samples = tuple(round(one.per_second, 1) for one in played)
    how = f"{played[0].fires:,} jobs due at once, median of {len(played)} rounds after a warm-up"
    found = [
        Figure(
            "throughput.fires_per_second",
            "durable throughput",
            median(samples),
            "fires/s",
            samples=samples,
            note=how,
            more_is_better=True,
        )
    ]
    for name, says, spent in (
        ("leader", "leader CPU per 1,000 fires", [one.leader_cpu_seconds for one in played]),
        ("postgres", "Postgres CPU per 1,000 fires", [one.postgres_cpu_seconds for one in played]),
    ):
        known = [seconds / played[0].fires * 1e6 for seconds in spent if seconds is not None]
        if known:
            key = f"throughput.{name}_cpu_ms_per_1000"
            found.append(Figure(key, says, round(median(known), 2), "ms", samples=tuple(round(k, 2) for k in known)))
    return found

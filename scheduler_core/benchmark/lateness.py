"""Lateness at a rate of fires that are spread evenly over each second.

As many jobs as fires per second, each with an interval of one second and a phase of its own. Two clocks judge: the
record's (`started_at`, by Postgres's clock as the replica knows it, when the call was decided) and the callback's own
wall clock, read in its first line. They may be compared where Postgres runs on this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from scheduler_core.benchmark import callbacks
from scheduler_core.benchmark.figure import Figure, percentile
from scheduler_core.benchmark.stage import Servers, Stage
from scheduler_core.benchmark.throughput import EPOCH
from scheduler_core.domain.jobs.job import ScheduleJob

PERCENTS = (50.0, 90.0, 99.0, 99.9, 100.0)
WARM_UP_SECONDS = 5.0
DRAIN_SECONDS = 1.0
SECOND = timedelta(seconds=1)


async def measure(servers: Servers, rates: Sequence[int], seconds: float, warm_up_seconds: float) -> list[Figure]:
    """Percentiles for each rate, each on a leader of its own."""
    found: list[Figure] = []
    for rate in rates:
        async with servers.stage("lateness") as stage:
            found += await _at(stage, rate, seconds, warm_up_seconds)
            p50, p99 = found[-len(PERCENTS) * 2], found[-len(PERCENTS) * 2 + 2]
            servers.tell(f"{rate:,} fires/s: p50 {p50.value:g} ms, p99 {p99.value:g} ms late")
    return found


async def _at(stage: Stage, rate: int, seconds: float, warm_up_seconds: float) -> list[Figure]:
    phases = phases_of(rate)
    jobs = [
        ScheduleJob(f"job-{n:05}", f"Job {n}", "interval", 1, callbacks.note, start_at=EPOCH + phase)
        for n, phase in enumerate(phases)
    ]
    async with stage.leader() as leader:
        await stage.add_jobs(jobs)
        await stage.reader.tidy()
        await asyncio.sleep(warm_up_seconds)
        since, cpu_before = await stage.database.now(), leader.cpu_seconds()
        await asyncio.sleep(seconds)
        until, cpu_after = await stage.database.now(), leader.cpu_seconds()
        # What came due in the last moment is not to be handed back at the stop.
        await asyncio.sleep(DRAIN_SECONDS)
    noted = sorted(leader.read_notes(since, until))
    recorded = await stage.reader.lateness_ms(PERCENTS, since, until)
    succeeded, _ = await stage.reader.recorded(since, until)
    due = due_in(phases, since, until)
    how = f"{due:,} fires in {seconds:g} s after {warm_up_seconds:g} s of warm-up"
    key = f"lateness.{rate}"
    found = [
        Figure(
            f"{key}.not_executed",
            f"not executed at {rate:,} fires/s",
            due - succeeded,
            "fires",
            at_most=0,
            note=how,
        )
    ]
    if cpu_before is not None and cpu_after is not None and succeeded:
        spent = (cpu_after - cpu_before) / succeeded * 1e6
        found.append(Figure(f"{key}.leader_cpu_ms_per_1000", f"leader CPU per 1,000 fires at {rate:,}/s", spent, "ms"))
    found += _percentiles(key, rate, recorded, how + "; by the record")
    if stage.servers.is_local:
        came = [percentile(noted, percent) for percent in PERCENTS] if noted else []
        found += _percentiles(
            f"{key}.callback", rate, came, how + "; by the callback's own wall clock", by=", as the callback saw it"
        )
    return found


def phases_of(rate: int) -> list[timedelta]:
    """When in each second each of the jobs is due."""
    return [n * SECOND / rate for n in range(rate)]


def due_in(phases: Sequence[timedelta], since: datetime, until: datetime) -> int:
    """How many instants of jobs with these phases lie in [since, until)."""
    # -(-a // b) is a division that rounds up.
    return sum(-(-(until - EPOCH - phase) // SECOND) + (-(since - EPOCH - phase) // SECOND) for phase in phases)


def _percentiles(key: str, rate: int, values: Sequence[float], note: str, by: str = "") -> list[Figure]:
    return [
        Figure(
            f"{key}.{_named(percent)}_ms",
            f"lateness at {rate:,} fires/s{by}, {_named(percent)}",
            round(value, 3),
            "ms",
            note=note,
        )
        for percent, value in zip(PERCENTS, values, strict=False)
    ]


def _named(percent: float) -> str:
    return "max" if percent == 100 else f"p{percent:g}"

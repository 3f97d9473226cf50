"""What a tick costs a leader, and what memory it needs, with a thousand jobs and with a million, at one rate of fires.

The rate is 200 fires/s, spread evenly, whatever the number of jobs. Once 1,000 of the jobs are the busy ones and all
the others wait for a day far away; once each job takes its turn, so that of a million jobs each is due once in 83
minutes and the leader reads its definition each time. A tick's cost is CPU time, of the leader and of Postgres
together, per second of leading at that rate: the leader looks every 20 ms, so each second holds the same ticks and the
same fires.

The jobs are copies of one that was added by the public interface, made in SQL: a million added by a process would stay
in that process's memory, which is not the leader's. Memory is the leader's resident memory, the worst of both, and
once more after 100,000 jobs were due at one instant, when it holds as many definitions as it ever keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.sizes import Sizes
from scheduler_core import ScheduleJob, SchedulerError
from scheduler_core.benchmark import callbacks
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.replica import Replica
from scheduler_core.benchmark.stage import Servers, Stage
from scheduler_core.storage.postgres.schema import jobs as jobs_table

RATE = 200
BUSY = 1_000
TEMPLATE = "template"
CHUNK = 50_000
BURST = 100_000
BURST_WITHIN_SECONDS = 300.0
STORED_PER_SECOND = 15_000
FAR = datetime(2100, 1, 1, tzinfo=UTC)
HOW = f"CPU of leader and Postgres at {RATE} fires/s"

_INSTANT = """CAST(:since AS timestamptz) + make_interval(secs => n / CAST(:rate AS float8))
             + CASE WHEN n >= :busy THEN interval '1 year' ELSE interval '0' END"""
_OWN = {
    "job_id": "'job-' || lpad(CAST(n AS text), 7, '0')",
    "schedule_value": "to_jsonb(:busy / CAST(:rate AS float8))",
    **dict.fromkeys(("start_at", "next_run", "due_at"), _INSTANT),
}
_COLUMNS = [column.name for column in jobs_table.columns]

# The first :busy jobs fall due in turn from :since on, :rate each second; the others a year later.
CLONE = f"""
INSERT INTO {{schema}}.jobs ({", ".join(_COLUMNS)})
SELECT {", ".join(_OWN.get(name, name) for name in _COLUMNS)}
FROM {{schema}}.jobs, generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n
WHERE job_id = :template
"""

BURST_AT = """
UPDATE {schema}.jobs SET start_at = :instant, anchor = :instant, next_run = :instant, due_at = :instant,
                         version = version + 1
WHERE job_id < 'job-' || lpad(CAST(CAST(:count AS integer) AS text), 7, '0')
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """One number of jobs, one way of spreading the fires over them."""

    leader_ms_per_second: float
    postgres_ms_per_second: float
    megabytes: float

    @property
    def cpu_ms_per_second(self) -> float:
        return self.leader_ms_per_second + self.postgres_ms_per_second


async def measure(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Cost and memory for each number of jobs, and the ratios to the smallest."""
    few: dict[int, Reading] = {}
    turns: dict[int, Reading] = {}
    full_megabytes = 0.0
    for jobs in sizes.stored_jobs:
        few[jobs] = await _read(servers, jobs, min(BUSY, jobs), sizes)
        async with servers.stage("tick") as stage, stage.leader() as leader:
            turns[jobs] = await _turns(stage, leader, jobs, jobs, sizes)
            if jobs == sizes.stored_jobs[-1]:
                full_megabytes = await _burst(stage, leader, min(BURST, jobs))
        servers.tell(f"{jobs:,} jobs: {few[jobs].cpu_ms_per_second:.0f}, {turns[jobs].cpu_ms_per_second:.0f} ms/s")
    return [*_ratios(few, turns), *_memory(few, turns, full_megabytes), *_costs(few, turns)]


async def _read(servers: Servers, jobs: int, busy: int, sizes: Sizes) -> Reading:
    async with servers.stage("tick") as stage, stage.leader() as leader:
        return await _turns(stage, leader, jobs, busy, sizes)


async def _turns(stage: Stage, leader: Replica, jobs: int, busy: int, sizes: Sizes) -> Reading:
    since = await _store(stage, jobs, busy)
    # After one period of the 1,000 busy ones the leader knows them all.
    await _sleep_until(stage, since + timedelta(seconds=min(busy, BUSY) / RATE + 2))
    before, since = _spent(stage, leader), await stage.database.now()
    await asyncio.sleep(sizes.tick_seconds)
    after, until = _spent(stage, leader), await stage.database.now()
    seconds = (until - since).total_seconds()
    succeeded, _ = await stage.reader.recorded(since, until - timedelta(seconds=1))
    if succeeded < 0.95 * RATE * (seconds - 1):
        raise SchedulerError(f"{succeeded} fires in {seconds:.1f} s at {RATE}/s: this machine can't keep up")
    used = [(b - a) / seconds * 1_000 for a, b in zip(before, after, strict=True)]
    return Reading(used[0], used[1], leader.memory_megabytes() or 0.0)


def _spent(stage: Stage, leader: Replica) -> tuple[float, float]:
    return leader.cpu_seconds() or 0.0, stage.servers.postgres_cpu_seconds() or 0.0


async def _store(stage: Stage, jobs: int, busy: int) -> datetime:
    """Have the jobs; returns when the first is due. Those that are due first come in last."""
    template = ScheduleJob(
        TEMPLATE, "A job", "interval", 86_400, callbacks.work, start_at=FAR, misfire="skip", misfire_grace=3600
    )
    await stage.add_jobs([template])
    since = await stage.database.now() + timedelta(seconds=2 + jobs / STORED_PER_SECOND)
    fixed = {"template": TEMPLATE, "rate": RATE, "busy": busy, "since": since}
    for first in reversed(range(0, jobs, CHUNK)):
        await stage.database.fetch(CLONE, {**fixed, "first": first, "last": min(first + CHUNK, jobs) - 1})
    await stage.reader.tidy()
    # What loading left to be written is no part of a tick.
    await stage.database.run_alone(["CHECKPOINT"])
    now = await stage.database.now()
    if now > since:
        stage.servers.tell(f"storing {jobs:,} jobs took {(now - since).total_seconds():.0f} s longer than allowed for")
    return max(now, since)


async def _sleep_until(stage: Stage, instant: datetime) -> None:
    await asyncio.sleep(max(0.0, (instant - await stage.database.now()).total_seconds()))


async def _burst(stage: Stage, leader: Replica, jobs: int) -> float:
    """Let many jobs fall due at one instant; returns the leader's memory once all have ended."""
    instant = await stage.database.now() + timedelta(seconds=5 + jobs / 10_000)
    await stage.database.fetch(BURST_AT, {"instant": instant, "count": jobs})
    await stage.ended(instant, leader, BURST_WITHIN_SECONDS)
    return leader.memory_megabytes() or 0.0


def _ratios(few: dict[int, Reading], turns: dict[int, Reading]) -> Iterator[Figure]:
    least, most = min(few), max(few)
    for key, says, readings in (
        ("busy", f"tick with {most:,} jobs / {least:,}, the same ones busy", few),
        ("turns", f"tick with {most:,} jobs / {least:,}, each in its turn", turns),
    ):
        ratio = readings[most].cpu_ms_per_second / readings[least].cpu_ms_per_second
        yield Figure(f"tick.{key}.ratio", says, round(ratio, 2), "x", note=HOW)


def _memory(few: dict[int, Reading], turns: dict[int, Reading], full_megabytes: float) -> Iterator[Figure]:
    most = max(few)
    worst = max(few[most].megabytes, turns[most].megabytes, full_megabytes)
    says = f"leader's memory with {most:,} jobs"
    note = f"resident, once {min(BURST, most):,} of them were due at one instant"
    yield Figure("memory.leader_mb", says, round(worst, 1), "MB", note=note)
    for jobs, reading in few.items():
        megabytes = max(reading.megabytes, turns[jobs].megabytes)
        yield Figure(f"memory.{jobs}.leader_mb", f"leader's memory with {jobs:,} jobs", round(megabytes, 1), "MB")


def _costs(few: dict[int, Reading], turns: dict[int, Reading]) -> Iterator[Figure]:
    for key, spread, readings in (("busy", "the same ones busy", few), ("turns", "each in its turn", turns)):
        for jobs, reading in readings.items():
            for who, spent in (("leader", reading.leader_ms_per_second), ("postgres", reading.postgres_ms_per_second)):
                says = f"{who} CPU per second of ticks, {jobs:,} jobs, {spread}"
                yield Figure(f"tick.{key}.{jobs}.{who}_ms", says, round(spent, 1), "ms", note=HOW)

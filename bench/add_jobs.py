"""Adding jobs by the public interface, in a process of its own: many at once, the same again, and one by one.

The process leads meanwhile, as any program's first replica does; none of the jobs is due. A second look at the same
jobs is what every restart of a program does.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Sequence

from bench.sizes import Sizes
from scheduler_core import ScheduleJob, SchedulerService, load_settings
from scheduler_core.benchmark import processes
from scheduler_core.benchmark.callbacks import work
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.stage import Servers

WARM_UP_JOBS = 1_000


async def measure(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Jobs per second, and what the process holds afterwards."""
    async with servers.stage("add_jobs") as stage:
        told = await asyncio.to_thread(
            _in_a_process, servers, str(stage.settings.schema), sizes.added_in_bulk, sizes.added_one_by_one
        )
    bulk, again, one, megabytes = told
    how = f"{sizes.added_in_bulk:,} jobs in one call, after a call with {WARM_UP_JOBS:,} others"
    return [
        Figure("add_jobs.new_per_second", "add_jobs, new jobs", bulk, "jobs/s", note=how, more_is_better=True),
        Figure("add_jobs.same_per_second", "add_jobs, the same jobs again", again, "jobs/s", more_is_better=True),
        Figure(
            "add_job.per_second",
            "add_job, one after the other",
            one,
            "jobs/s",
            note=f"{sizes.added_one_by_one:,} calls, each durable before the next",
            more_is_better=True,
        ),
        Figure("add_jobs.memory_mb", f"memory of a process that added {sizes.added_in_bulk:,}", megabytes, "MB"),
    ]


def _in_a_process(servers: Servers, schema: str, bulk: int, single: int) -> Sequence[float]:
    own = {
        "SCHEDULER_DATABASE_URL": servers.database_url,
        "SCHEDULER_REDIS_URL": servers.redis_url,
        "SCHEDULER_SCHEMA": schema,
        "SCHEDULER_TIMEZONE": "UTC",
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SCHEDULER_")} | own
    command = [sys.executable, "-m", __name__, str(bulk), str(single)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=600)
    told: list[float] = json.loads(done.stdout)
    return told


async def _add(bulk: int, single: int) -> list[float]:
    SchedulerService.init(settings=load_settings())
    await SchedulerService.start()
    await SchedulerService.add_jobs(_jobs("first", WARM_UP_JOBS))
    # The lists are dropped: what the process holds afterwards is what the scheduler keeps of them.
    new = await _rate(SchedulerService.add_jobs(_jobs("bulk", bulk)), bulk)
    same = await _rate(SchedulerService.add_jobs(_jobs("bulk", bulk)), bulk)

    async def one_by_one() -> None:
        for job in _jobs("one", single):
            await SchedulerService.add_job(job)

    one = await _rate(one_by_one(), single)
    megabytes = processes.memory_megabytes(os.getpid()) or 0.0
    await SchedulerService.shutdown()
    return [new, same, one, round(megabytes, 1)]


def _jobs(kind: str, count: int) -> list[ScheduleJob]:
    return [
        ScheduleJob(f"{kind}-{n:07}", f"Job {n}", "daily", f"{n % 24:02}:{n % 60:02}", work, enabled=True)
        for n in range(count)
    ]


async def _rate(adding: Awaitable[None], count: int) -> float:
    began = time.perf_counter()
    await adding
    return round(count / (time.perf_counter() - began), 1)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_add(int(sys.argv[1]), int(sys.argv[2])))))

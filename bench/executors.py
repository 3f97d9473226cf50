"""What each executor does, by the number of its processes: `python -m bench.executors [--jobs 2000]`.

So many jobs fall due at once, as in `throughput`; one replica leads. A process, a Dask worker or another replica takes
each attempt and records its outcome by itself, which is what is measured: from the first start to the last end, by the
record. Jobs that do nothing measure what a fire costs; a tenth as many that keep a core busy for 20 ms measure what the
processes add. Of `replicas` so many take part, the leader among them; `local` is there to be compared with.
A first wave warms the workers up: a Dask worker opens its connections with its first ticket.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.domain.runs.ticket import REPLICAS
from scheduler_core.runtime.child_processes import die_with_parent
from scheduler_core.storage import embedded

PROCESSES = {"local": (1,), "replicas": (1, 2, 3), "process": (1, 2, 4), "dask": (1, 2, 4)}
WARM_UP_JOBS = 200
READY_SECONDS = 8.0
"""From adding the jobs to the first wave: workers are started meanwhile."""
WARM_UP_SECONDS = 6.0
"""From the first wave to the one that is measured."""

BUSY_SECONDS = 0.02

ENDED = """
SELECT count(*) AS ended, extract(epoch FROM max(finished_at) - min(started_at))::float8 AS seconds
FROM {schema}.runs WHERE status = 'succeeded' AND job_id LIKE 'measured-%'
"""

SHARES = """
SELECT instance_id, count(*) AS runs FROM {schema}.runs
WHERE status = 'succeeded' AND job_id LIKE 'measured-%' GROUP BY instance_id ORDER BY runs DESC
"""


async def nothing() -> None:
    """Called by the jobs that measure what a fire costs."""


def busy() -> None:
    """Keep a core busy, by its own clock."""
    until = time.thread_time() + BUSY_SECONDS
    while time.thread_time() < until:
        pass


async def measure(executor: str, processes: int, callback: Callable[[], Any], jobs: int) -> dict[str, Any]:
    """One executor with so many processes, on servers of its own."""
    with tempfile.TemporaryDirectory() as folder:
        servers = await asyncio.to_thread(embedded.start, folder)
        settings = load_settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            timezone="UTC",
            log_level="WARNING",
            allowed_callbacks=("bench.executors",),
            process_workers=processes,
            dask_address="local",
        )
        container = Container(settings)
        others = [_start_replica(servers) for _ in range(processes - 1)] if executor == REPLICAS else []
        try:
            scheduler = await container.start()
            reference = f"bench.executors:{callback.__name__}"
            first = datetime.now(UTC) + timedelta(seconds=READY_SECONDS)
            second = first + timedelta(seconds=WARM_UP_SECONDS)
            await scheduler.add_jobs(
                [
                    ScheduleJob(f"{wave}-{n}", wave, "once", due, reference, executor=executor)
                    for wave, due, count in (("warm", first, WARM_UP_JOBS), ("measured", second, jobs))
                    for n in range(count)
                ]
            )
            async with asyncio.timeout(120):
                while (row := await container.get_database().fetch_one(ENDED, {})) is None or row.ended < jobs:  # noqa: ASYNC110
                    await asyncio.sleep(0.5)
            shares = [found.runs for found in await container.get_database().fetch(SHARES, {})]
            return {
                "executor": executor,
                "processes": processes,
                "callback": callback.__name__,
                "fires_per_second": round(jobs / row.seconds),
                "shares": shares,
            }
        finally:
            for other in others:
                other.terminate()
            for other in others:
                await asyncio.to_thread(other.wait)
            await container.close()
            await asyncio.to_thread(servers.stop)


def _start_replica(servers: embedded.EmbeddedServers) -> subprocess.Popen[bytes]:
    """Another replica, which has the jobs that are in Postgres and no others."""
    settings = {
        "SCHEDULER_DATABASE_URL": servers.database_url,
        "SCHEDULER_REDIS_URL": servers.redis_url,
        "SCHEDULER_TIMEZONE": "UTC",
        "SCHEDULER_LOG_LEVEL": "WARNING",
        "SCHEDULER_ELIGIBLE": "false",
        "SCHEDULER_ALLOWED_CALLBACKS": '["bench.executors"]',
    }
    command = [sys.executable, "-m", "scheduler_core.cli", "run", "--app", "bench.executors"]
    return subprocess.Popen(
        command,
        env=os.environ | settings,
        preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - it only makes system calls
    )


def main() -> None:
    """Measure all, and print each as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--executor", choices=tuple(PROCESSES), action="append")
    asked = parser.parse_args()
    jobs = asked.jobs
    began = time.monotonic()
    for executor in asked.executor or PROCESSES:
        for processes in PROCESSES[executor]:
            for callback, count in ((nothing, jobs), (busy, jobs // 10)):
                print(json.dumps(asyncio.run(measure(executor, processes, callback, count))), flush=True)
    print(json.dumps({"cores": os.cpu_count(), "took_seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()

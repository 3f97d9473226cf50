"""Fires per second of each executor, by the number of its processes: `python -m bench.executors [--jobs 2000]`.

So many jobs that do nothing fall due at once, as in `throughput`; one replica leads. A process or a Dask worker takes
each attempt and records its outcome by itself, which is what is measured: from the first start to the last end, by the
record.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler_core import Container, ScheduleJob, load_settings
from storage import embedded

EXECUTORS = ("process", "dask")
PROCESSES = (1, 2, 4)
READY_SECONDS = 8.0
"""From adding the jobs to their instant: workers are started meanwhile."""

ENDED = """
SELECT count(*) AS ended, extract(epoch FROM max(finished_at) - min(started_at))::float8 AS seconds
FROM {schema}.runs WHERE status = 'succeeded'
"""


async def nothing() -> None:
    """What the jobs call."""


async def measure(executor: str, processes: int, jobs: int) -> dict[str, Any]:
    """One executor with so many processes, on servers of its own."""
    with tempfile.TemporaryDirectory() as folder:
        servers = await asyncio.to_thread(embedded.start, folder)
        settings = load_settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            timezone="UTC",
            allowed_callbacks=("bench.executors",),
            process_workers=processes,
            dask_address="local",
        )
        container = Container(settings)
        try:
            scheduler = await container.start()
            due = datetime.now(UTC) + timedelta(seconds=READY_SECONDS)
            await scheduler.add_jobs(
                [
                    ScheduleJob(f"j{n}", "J", "once", due, "bench.executors:nothing", executor=executor)
                    for n in range(jobs)
                ]
            )
            async with asyncio.timeout(120):
                while (row := await container.get_database().fetch_one(ENDED, {})) is None or row.ended < jobs:  # noqa: ASYNC110
                    await asyncio.sleep(0.5)
            return {"executor": executor, "processes": processes, "fires_per_second": round(jobs / row.seconds)}
        finally:
            await container.close()
            await asyncio.to_thread(servers.stop)


def main() -> None:
    """Measure all, and print each as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=2_000)
    jobs = parser.parse_args().jobs
    began = time.monotonic()
    for executor in EXECUTORS:
        for processes in PROCESSES:
            print(json.dumps(asyncio.run(measure(executor, processes, jobs))), flush=True)
    print(json.dumps({"cores": os.cpu_count(), "took_seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()

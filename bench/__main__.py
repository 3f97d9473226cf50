"""`python -m bench`: lateness of evenly and of unevenly spread jobs, on servers of its own.

Parameters: --jobs, how many; --seconds, for how long; each fires once a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.cli.replica import spare_the_collector
from storage import embedded


async def work() -> None:
    """Does nothing: what is measured is the scheduler."""


async def measure(database_url: str, redis_url: str, jobs: int, seconds: float) -> dict[str, float]:
    container = Container(load_settings(database_url=database_url, redis_url=redis_url, timezone="UTC"))
    try:
        await container.start([ScheduleJob(f"job-{n}", f"Job {n}", "interval", 1, work) for n in range(jobs)])
        spare_the_collector()
        await asyncio.sleep(seconds)
        await container.stop()
        row = await container.get_database().fetch_one(
            """
            SELECT count(*) AS runs, count(*) FILTER (WHERE status <> 'succeeded') AS others,
                   percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM lateness)::float8) * 1000 AS p50_ms,
                   percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM lateness)::float8) * 1000 AS p99_ms,
                   max(extract(epoch FROM lateness)::float8) * 1000 AS max_ms
            FROM {schema}_audit.runs
            """.replace("{schema}_audit", "scheduler_audit")
        )
        assert row is not None
        return {key: float(value) for key, value in row._mapping.items()}
    finally:
        await container.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scheduler-bench-") as folder, embedded.start(folder) as started:
        figures = asyncio.run(measure(started.database_url, started.redis_url, given.jobs, given.seconds))
    print(json.dumps({"jobs": given.jobs, "seconds": given.seconds, **figures}, indent=2))


main()

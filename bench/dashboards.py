"""The leader's lateness while so many dashboards are open, against none: `python -m bench.dashboards [--open 50]`.

One replica leads and serves its own pages, as `scheduler run` with `api_port` does; jobs whose instants are spread over
the second make it fire steadily. The dashboards are streams of the overview, each on a connection of its own, read by
another process. Parts with and without them take turns, so that what else happens on the machine falls on both.
Lateness is read from the record: the actual start minus `scheduled_for`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.admin.status import leader_status
from scheduler_core.domain.access.access import Scope
from scheduler_core.runtime.child_processes import die_with_parent
from scheduler_core.storage import embedded

PARTS = 3
SETTLE_SECONDS = 2.0

LATENESS = """
SELECT count(*) AS fires,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY lateness) AS p50,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY lateness) AS p99,
       max(lateness) AS max
FROM (SELECT extract(epoch FROM started_at - scheduled_for)::float8 * 1000 AS lateness
      FROM {schema}.runs
      WHERE scheduled_for >= :since AND scheduled_for < :until AND origin = 'schedule') AS runs
"""


async def measure(*, dashboards: int, jobs: int, seconds: float) -> dict[str, Any]:
    """Lateness in milliseconds with no dashboard open and with so many, part by part in turn."""
    with tempfile.TemporaryDirectory() as folder:
        servers = await asyncio.to_thread(embedded.start, folder)
        port = 20_000 + secrets.randbelow(10_000)
        container = Container(
            load_settings(database_url=servers.database_url, redis_url=servers.redis_url, timezone="UTC")
        )
        replica = None
        try:
            await container.prepare()
            definitions = [
                ScheduleJob(f"job-{n:05}", f"Job {n}", "interval", 1, "bench.dashboards:nothing").definition("UTC")
                for n in range(jobs)
            ]
            # One job per slice of the second: their anchors, and so their instants, are spread over it.
            for begin in range(0, jobs, max(1, jobs // 50)):
                await container.get_operations().declare(definitions[begin : begin + max(1, jobs // 50)])
                await asyncio.sleep(0.02)
            _, token = await container.get_tokens().create("bench", Scope.OPERATOR, days=1, by="bench")
            replica = await asyncio.to_thread(_start, servers, port)
            await _led(container)
            return {
                "dashboards": dashboards,
                "jobs": jobs,
                "parts": await _parts(container, f"http://127.0.0.1:{port}", token, dashboards, seconds),
            }
        finally:
            if replica is not None:
                replica.terminate()
                await asyncio.to_thread(replica.wait, 30)
            await container.close()
            await asyncio.to_thread(servers.stop)


async def nothing() -> None:
    """What the jobs call."""


def _start(servers: embedded.EmbeddedServers, port: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "SCHEDULER_DATABASE_URL": servers.database_url,
        "SCHEDULER_REDIS_URL": servers.redis_url,
        "SCHEDULER_ALLOWED_CALLBACKS": '["bench.dashboards"]',
        "SCHEDULER_API_PORT": str(port),
        "SCHEDULER_LOG_LEVEL": "WARNING",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "scheduler_core.cli", "run", "--app", "bench.dashboards"],
        env=environment,
        preexec_fn=die_with_parent(os.getpid()),  # noqa: PLW1509 - prctl alone, and no thread forks
    )


async def _led(container: Container) -> None:
    async with asyncio.timeout(60):
        while (await leader_status(container))["instance_id"] is None:  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.1)
    await asyncio.sleep(SETTLE_SECONDS)


async def _parts(container: Container, url: str, token: str, dashboards: int, seconds: float) -> list[dict[str, Any]]:
    measured = []
    for part in range(2 * PARTS):
        count = dashboards if part % 2 else 0
        watchers = None
        if count:
            words = [sys.executable, "-m", "bench.dashboards", "--watch", url, "--open", str(count)]
            watchers = await asyncio.create_subprocess_exec(
                *words,
                env=os.environ | {"BENCH_TOKEN": token},
                stdout=asyncio.subprocess.PIPE,
                preexec_fn=die_with_parent(os.getpid()),
            )
        await asyncio.sleep(SETTLE_SECONDS)
        since = await container.get_database().now()
        await asyncio.sleep(seconds)
        until = await container.get_database().now()
        events = 0
        if watchers is not None:
            watchers.terminate()
            out, _ = await watchers.communicate()
            events = int(out or b"0")
        await asyncio.sleep(SETTLE_SECONDS)
        row = await container.get_database().fetch_one(LATENESS, {"since": since, "until": until})
        assert row is not None
        measured.append({"open": count, "events": events, **{k: round(float(v), 2) for k, v in row.items()}})
        print(json.dumps(measured[-1]), flush=True)
    return measured


async def watch(url: str, count: int) -> int:
    """Open so many streams and read them until this process is told to end; how many events came."""
    import httpx

    events = 0
    headers = {"Authorization": f"Bearer {os.environ['BENCH_TOKEN']}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60) as client:

        async def one() -> None:
            nonlocal events
            while True:
                async with client.stream("GET", f"{url}/stream?view=overview") as answer:
                    answer.raise_for_status()
                    async for chunk in answer.aiter_bytes():
                        events += chunk.count(b"\n\n")

        tasks = [asyncio.create_task(one()) for _ in range(count)]
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(15, asked.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(600):
                await asked.wait()
        failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if failed:
            raise SystemExit(f"{len(failed)} dashboards ended: {failed[0]}")
    return events


def main() -> None:
    """Measure, and print one JSON document at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--open", type=int, default=50, help="dashboards")
    parser.add_argument("--jobs", type=int, default=300, help="jobs that fire each second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each of the six parts")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.watch:
        print(asyncio.run(watch(given.watch, given.open)))
        return
    begun = time.monotonic()
    found = asyncio.run(measure(dashboards=given.open, jobs=given.jobs, seconds=given.seconds))
    found["took_seconds"] = round(time.monotonic() - begun, 1)
    text = json.dumps(found, indent=1)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

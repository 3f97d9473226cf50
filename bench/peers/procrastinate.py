"""Procrastinate: asynchronous tasks.

Chosen, from its how-to pages "Defer multiple jobs at once" (`batch_defer_async`), "Schedule a job" (`schedule_at`),
"Execute multiple jobs at the same time" (`concurrency`, here `size`; 30 is the page's figure) and "Launch a worker":
LISTEN / NOTIFY is on. It tells of new jobs only; that a scheduled one has come due is found by asking, every 5 s by
default: `fetch_job_polling_interval` is set to 50 ms.

Takeover: periodic tasks ("Launch a task periodically"; cron with seconds), two workers with default settings. Every
worker defers every tick, half a second late on purpose; a unique key lets one of them through.

Recorded: the job's row with its status, and one row per change of status in `procrastinate_events`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
from inside import Given, fires, ready
from procrastinate import App, PsycopgConnector

CONNECTIONS = 20
POLLING_SECONDS = 0.05
DONE = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"


def application(given: Given) -> App:
    app = App(connector=PsycopgConnector(conninfo=given.database_url, min_size=4, max_size=CONNECTIONS))

    @app.task(name="nothing")
    async def nothing() -> None: ...

    @app.task(name="fire")
    async def fire(key: int, due: float) -> None:
        fires.write(key, due)

    @app.task(name="tick")
    async def tick(timestamp: int, key: int) -> None:
        fires.write(key, timestamp)

    if given.mode == "takeover":
        for key in range(given.schedules):
            app.periodic(cron="* * * * * *", periodic_id=str(key), task_kwargs={"key": key})(tick)
    return app


def install(given: Given) -> None:
    async def run() -> None:
        async with application(given).open_async() as app:
            await app.schema_manager.apply_schema_async()

    asyncio.run(run())


def enqueue(given: Given) -> None:
    async def run() -> None:
        async with application(given).open_async() as app:
            if given.mode == "throughput":
                at = datetime.fromtimestamp(given.due, UTC)
                await app.configure_task("nothing", schedule_at=at).batch_defer_async(*[{}] * given.count)
                return

            async def defer(index: int) -> None:
                due = given.instant(index)
                at = datetime.fromtimestamp(due, UTC)
                await app.configure_task("fire", schedule_at=at).defer_async(key=index, due=due)

            for first in range(0, given.count, CONNECTIONS):
                indexes = range(first, min(first + CONNECTIONS, given.count))
                await asyncio.gather(*(defer(index) for index in indexes))

    asyncio.run(run())


def work(given: Given) -> None:
    async def run() -> None:
        async with application(given).open_async() as app:
            ready(given)
            if given.mode == "takeover":
                await app.run_worker_async()
            else:
                await app.run_worker_async(concurrency=given.size, fetch_job_polling_interval=POLLING_SECONDS)

    asyncio.run(run())


def counter(given: Given) -> Callable[[], int]:
    connection = psycopg.connect(given.database_url, autocommit=True)

    def count() -> int:
        row = connection.execute(DONE).fetchone()
        assert row is not None
        return int(row[0])

    return count

"""PgQueuer.

Chosen, from its guides "Performance Tuning" (`batch_size` up for short jobs, here `size`; a direct asyncpg connection,
not a pool, for the queue manager; `pgq autovac` after installation; durability stays `durable`, the default: ours is
too) and "Deferred Execution" (`execute_after`); uvloop, which its own command uses if it is there. A list is enqueued
in one statement.

Takeover: its scheduler ("Scheduling"; cron with seconds), two processes with default settings. It sleeps until a second
after the next instant, so that a schedule of every second fires about every second one, whoever lives. A schedule whose
process dies inside a fire is free again after 30 s; the kill of this measure falls between fires.

Recorded: a row per change of status in `pgqueuer_log`; the job's own row is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from time import time
from typing import Any

import asyncpg
import uvloop
from inside import Given, fires, ready
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

ENQUEUED_AT_ONCE = 5_000
DONE = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"


def install(given: Given) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(given.database_url)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.optimize_autovacuum()
        await connection.close()

    asyncio.run(run())


def enqueue(given: Given) -> None:
    name = "nothing" if given.mode == "throughput" else "fire"

    async def run() -> None:
        connection = await asyncpg.connect(given.database_url)
        queries = Queries(AsyncpgDriver(connection))
        for first in range(0, given.count, ENQUEUED_AT_ONCE):
            indexes = range(first, min(first + ENQUEUED_AT_ONCE, given.count))
            now = time()
            await queries.enqueue(
                [name] * len(indexes),
                [f"{index} {given.instant(index):.6f}".encode() for index in indexes],
                [0] * len(indexes),
                [timedelta(seconds=given.instant(index) - now) for index in indexes],
            )
        await connection.close()

    asyncio.run(run())


def work(given: Given) -> None:

    async def run() -> None:
        connection = await asyncpg.connect(given.database_url)
        pgq = PgQueuer.from_asyncpg_connection(connection)

        @pgq.entrypoint("nothing")
        async def nothing(_job: Any) -> None: ...

        @pgq.entrypoint("fire")
        async def fire(job: Any) -> None:
            key, due = job.payload.split()
            fires.write(int(key), float(due))

        def tick(key: int) -> None:
            @pgq.schedule(f"tick-{key}", "* * * * * *")
            async def fire_tick(_schedule: Any) -> None:
                fires.write(key, 0)

        if given.mode == "takeover":
            for key in range(given.schedules):
                tick(key)
            ready(given)
            await pgq.run()
        else:
            ready(given)
            await pgq.run(batch_size=given.size)

    uvloop.run(run())


def counter(given: Given) -> Callable[[], int]:
    runner = asyncio.Runner()
    connection = runner.run(asyncpg.connect(given.database_url))

    def count() -> int:
        return int(runner.run(connection.fetchval(DONE)))

    return count

"""Oban for Python.

Chosen, from its guides "Ready for Production" (a connection is borrowed briefly, so the pool of 10 stays), "Defining
Queues" (the limit is how many run at once, here `size`; its own benchmark has 20) and the API page of `Oban`
(`stager={"interval": …}`: scheduled jobs are looked for every second by default, here every 50 ms); uvloop, which its
own command uses. `enqueue_many` for many jobs.

Takeover: cron jobs, whose finest step is the minute; only the leader inserts them. Default settings: a lease of 30 s,
asked for every 30 s.

Recorded: the job's row with its state, attempts and times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import uvloop
from inside import Given, fires, ready
from oban import Oban, worker
from oban.schema import install as install_schema

STAGE_SECONDS = 0.05
BATCH = 5_000
DONE = "SELECT count(*) FROM oban_jobs WHERE state = 'completed'"


@worker()
class Nothing:
    async def process(self, _job: Any) -> None: ...


@worker()
class Fire:
    async def process(self, job: Any) -> None:
        fires.write(job.args["key"], job.args["due"])


def tick(key: int) -> type:
    """A cron job of its own."""

    async def process(_self: Any, job: Any) -> None:
        fires.write(key, datetime.fromisoformat(job.meta["cron_at"]).timestamp())

    return worker(cron="* * * * *")(type(f"Tick{key}", (), {"process": process, "__module__": __name__}))


def install(given: Given) -> None:
    async def run() -> None:
        pool = await Oban.create_pool(given.database_url)
        await install_schema(pool)
        await pool.close()

    asyncio.run(run())


def enqueue(given: Given) -> None:
    def job(index: int) -> Any:
        due = given.instant(index)
        at = datetime.fromtimestamp(due, UTC)
        if given.mode == "throughput":
            return Nothing.new(scheduled_at=at)
        return Fire.new({"key": index, "due": due}, scheduled_at=at)

    async def run() -> None:
        pool = await Oban.create_pool(given.database_url)
        oban = Oban(pool=pool)
        for first in range(0, given.count, BATCH):
            await oban.enqueue_many(job(index) for index in range(first, min(first + BATCH, given.count)))
        await pool.close()

    asyncio.run(run())


def work(given: Given) -> None:
    options: dict[str, Any] = {"queues": {"default": given.size}, "stager": {"interval": STAGE_SECONDS}}
    if given.mode == "takeover":
        options = {"queues": {"default": 10}}
        for key in range(given.schedules):
            globals()[f"Tick{key}"] = tick(key)

    async def run() -> None:
        pool = await Oban.create_pool(given.database_url)
        async with Oban(pool=pool, **options):
            ready(given)
            await asyncio.Event().wait()

    uvloop.run(run())


def leader(given: Given) -> int:
    """The pid of the process that inserts cron jobs; any may run them."""
    with psycopg.connect(given.database_url) as connection:
        row = connection.execute("SELECT node FROM oban_leaders").fetchone()
    return int(row[0].rpartition(".")[2]) if row is not None else 0


def counter(given: Given) -> Callable[[], int]:
    connection = psycopg.connect(given.database_url, autocommit=True)

    def count() -> int:
        row = connection.execute(DONE).fetchone()
        assert row is not None
        return int(row[0])

    return count

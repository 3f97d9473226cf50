"""`python -m bench pinned [--minutes N] [--rate N] [--every N]`: fires beside a transaction that somebody leaves open.

A session begins a transaction, takes a snapshot of it, and does nothing more; beside it one leader fires evenly, each
job every second. For each stretch of time: lateness, the pages that a look for what is due visits, those that a fire
does in all, and the CPU time that Postgres spends on 1,000 fires. `--renew S` ends the transaction after S seconds and
begins the next, as dumps in a loop do; `--no-pin` opens none: what it is held against.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg

from scheduler_core.benchmark import callbacks
from scheduler_core.benchmark.lateness import phases_of
from scheduler_core.benchmark.stage import Servers, Stage, open_servers
from scheduler_core.benchmark.throughput import EPOCH
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.storage.fire.claims import DUE
from scheduler_core.storage.fire.runs import HOT_PATH_SETTINGS
from scheduler_core.storage.postgres.database import Database

PERCENTS = (50.0, 99.0, 100.0)
WARM_UP_SECONDS = 8.0
SETTLED_SECONDS = 1.0
"""What is younger may not have ended yet."""

SEEN_BEFORE_SECONDS = 0.05
"""How far back a leader's look begins, as it looks every 25 to 50 ms."""

TOUCHED = """
SELECT blks_hit + blks_read AS pages FROM pg_stat_database WHERE datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one stretch of time was like."""

    minutes: float
    """Since the transaction was begun, at the end of the stretch."""
    fires: int
    others: int
    """Occurrences that did not succeed in time."""
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    pages_per_look: int
    pages_per_fire: float
    postgres_ms_per_1000: float | None

    def line(self) -> str:
        """For people."""
        return (
            f"{self.minutes:6.1f} min  {self.fires:>8,} fires, {self.others:,} others"
            f"  p50 {_ms(self.p50_ms)}  p99 {_ms(self.p99_ms)}  max {_ms(self.max_ms)}"
            f"  pages: {self.pages_per_look:,} a look, {self.pages_per_fire:,.0f} a fire"
            f"  Postgres {_ms(self.postgres_ms_per_1000)} per 1,000"
        )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} ms"


def main(words: Sequence[str]) -> None:
    """The command line; a line for each stretch, and figures as JSON where asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench pinned", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, metavar="N")
    parser.add_argument("--every", type=float, default=10.0, metavar="N", help="minutes of a stretch")
    parser.add_argument("--rate", type=int, default=1_000, metavar="N", help="fires per second, and jobs")
    parser.add_argument("--renew", type=float, metavar="S", help="seconds after which the transaction is another one")
    parser.add_argument("--no-pin", action="store_true", help="no transaction is left open")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(words)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with open_servers(tell) as servers:
        stretches = asyncio.run(
            measure(
                servers,
                rate=given.rate,
                seconds=given.minutes * 60,
                stretch_seconds=given.every * 60,
                renew_seconds=given.renew,
                pins=not given.no_pin,
            )
        )
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(each) for each in stretches], indent=1) + "\n", encoding="utf-8")


async def measure(
    servers: Servers,
    *,
    rate: int,
    seconds: float,
    stretch_seconds: float,
    renew_seconds: float | None = None,
    pins: bool = True,
) -> list[Stretch]:
    """Fire at the rate while a transaction is open; one Stretch for each `stretch_seconds`."""
    jobs = [
        ScheduleJob(f"job-{n:05}", f"Job {n}", "interval", 1, callbacks.work, start_at=EPOCH + phase)
        for n, phase in enumerate(phases_of(rate))
    ]
    stretches: list[Stretch] = []
    async with servers.stage("pinned") as stage, stage.leader():
        await stage.add_jobs(jobs)
        await stage.reader.tidy()
        await asyncio.sleep(WARM_UP_SECONDS)
        async with _left_open(servers, renew_seconds) if pins else _nothing(), _as_the_leader(stage) as looks:
            began, left_seconds = time.monotonic(), seconds
            while left_seconds > 0:
                stretch = await _stretch(stage, looks, began, min(stretch_seconds, left_seconds))
                servers.tell(stretch.line())
                stretches.append(stretch)
                left_seconds -= stretch_seconds
    return stretches


async def _stretch(stage: Stage, looks: Database, began: float, seconds: float) -> Stretch:
    since, touched, cpu = await stage.database.now(), await _touched(stage), stage.servers.postgres_cpu_seconds()
    await asyncio.sleep(seconds)
    until, pages = await stage.database.now(), await _touched(stage) - touched
    spent = stage.servers.postgres_cpu_seconds()
    await asyncio.sleep(SETTLED_SECONDS)
    fires, others = await stage.reader.recorded(since, until)
    late = await stage.reader.lateness_ms(PERCENTS, since, until)
    p50, p99, most = late or (None, None, None)
    return Stretch(
        minutes=(time.monotonic() - began) / 60,
        fires=fires,
        others=others,
        p50_ms=p50,
        p99_ms=p99,
        max_ms=most,
        pages_per_look=await _pages_per_look(looks),
        pages_per_fire=pages / max(1, fires),
        postgres_ms_per_1000=None if cpu is None or spent is None else (spent - cpu) / max(1, fires) * 1e6,
    )


async def _touched(stage: Stage) -> int:
    row = await stage.database.fetch_one(TOUCHED)
    assert row is not None
    return int(row.pages)


async def _pages_per_look(looks: Database) -> int:
    """What a look like the leader's visits."""
    since = await looks.now() - timedelta(seconds=SEEN_BEFORE_SECONDS)
    parameters = {"ahead": 0.05, "limit": 4_000, "excluding": [], "since": since}
    (row,) = await looks.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {DUE}", parameters)
    plan = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    top = plan[0]["Plan"]
    return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])


@asynccontextmanager
async def _as_the_leader(stage: Stage) -> AsyncIterator[Database]:
    database = Database(stage.servers.database_url, stage.database.schema, pool_size=1, settings=HOT_PATH_SETTINGS)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _left_open(servers: Servers, renew_seconds: float | None) -> AsyncIterator[None]:
    """Somebody's transaction, open for as long as this; or one after the other."""
    session = await asyncpg.connect(servers.database_url)
    try:
        await _begin(session)
        renewing = None if renew_seconds is None else asyncio.create_task(_renew(session, renew_seconds))
        try:
            yield
        finally:
            if renewing is not None:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)
    finally:
        session.terminate()


async def _begin(session: asyncpg.Connection) -> None:
    await session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await session.execute("SELECT pg_current_xact_id(), count(*) FROM pg_class")


async def _renew(session: asyncpg.Connection, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await session.execute("ROLLBACK")
        await _begin(session)

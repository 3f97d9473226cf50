"""`python -m bench history [--rows N] [--days N]`: ten million runs, asked, dropped by the month, fired beside.

On servers of its own, in a temporary folder that goes at the end. Three figures: how long the commonest questions of
docs/audit.md take, how long it takes to drop the oldest thirty days through the product's own retention, and what that
does to the lateness of fires: the same replica, in the same run, just before, meanwhile and just after.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

from bench.audit_page import filled, questions
from bench.generated import Shape, generate, midnight
from scheduler_core import Container, ScheduleJob, TableScheduler, load_settings
from scheduler_core.cli.replica import tune_gc
from scheduler_core.storage import embedded
from scheduler_core.storage.embedded import EmbeddedServers

DROPPED_DAYS = 30
WARM_UP_SECONDS = 10.0
ROUNDS = 5
BYTES_PER_ROW = 600
"""Of disk, at the worst, write-ahead log included."""

COMMON = (
    "Who led when?",
    "What were the longest gaps without a leader?",
    "How late did runs start, hour by hour?",
    "What share of the runs started within a second, job by job?",
    "Which runs waited longest before they started?",
    "Which minutes were the busiest?",
    "What failed?",
    "Which jobs failed several times in a row?",
    "What was missed, and why?",
    "How did every job do?",
)

LATENESS = """
SELECT count(*) AS runs, count(*) FILTER (WHERE status <> 'succeeded') AS others,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM lateness)::float8) * 1000 AS p50_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM lateness)::float8) * 1000 AS p99_ms,
       max(extract(epoch FROM lateness)::float8) * 1000 AS max_ms
FROM scheduler_audit.runs
WHERE scheduled_for >= :since AND scheduled_for < :until AND job_id LIKE 'fire-%'
"""

SIZES = """
SELECT pg_database_size(current_database()) AS bytes, (SELECT count(*) FROM scheduler.runs) AS runs
"""

TOUCHED = """
SELECT blks_hit + blks_read AS blocks FROM pg_stat_database WHERE datname = current_database()
"""

BLOCKS = """
SELECT sum(pg_relation_size(i.inhrelid)) / current_setting('block_size')::integer AS blocks
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE c.relname = ANY(ARRAY['runs_' || CAST(:day AS text), 'attempts_' || CAST(:day AS text)])
"""


async def work() -> None:
    """Does nothing: what is measured is the scheduler."""


def main(words: Sequence[str]) -> None:
    """The command line; figures as JSON on standard output."""
    parser = argparse.ArgumentParser(prog="python -m bench history", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=60, help=f"more than {DROPPED_DAYS}")
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=300, help="fires a second while the month is dropped")
    parser.add_argument("--seconds", type=float, default=60.0, help="of firing before the month is dropped")
    given = parser.parse_args(words)
    if given.days <= DROPPED_DAYS:
        parser.error(f"--days {given.days}: more than {DROPPED_DAYS} are needed, which are dropped")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < given.rows * BYTES_PER_ROW:
        parser.error(
            f"{given.rows:,} rows need {given.rows * BYTES_PER_ROW / 1e9:.1f} GB, and {free / 1e9:.1f} are free"
        )
    with tempfile.TemporaryDirectory(prefix="scheduler-bench-") as folder, embedded.start(folder) as servers:
        figures = asyncio.run(measure(servers, given.rows, given.days, given.jobs, given.rate, given.seconds))
    print(json.dumps(figures, indent=2))


async def measure(
    servers: EmbeddedServers, rows: int, days: int, jobs: int, rate: int, seconds: float
) -> dict[str, Any]:
    """Generate, ask, drop a day in silence, then a month while jobs fire; figures by name."""
    container = _container(servers, history_days=36_500)
    try:
        await container.prepare()
        today = await container.get_tables().today()
        # One day more, to be dropped alone.
        shape = Shape(rows * (days + 1) // days, days + 1, jobs, until=today)
        _say(f"generating about {shape.rows:,} runs")
        began = time.perf_counter()
        await generate(container, shape)
        generated_seconds = time.perf_counter() - began
        sizes = await container.get_database().fetch_one(SIZES)
        assert sizes is not None
        _say("asking")
        asked = await _ask(servers.database_url, shape)
        _say("dropping a day, then a month")
        day = await _drop_day(servers, container, shape.first_day, days)
        month = await _drop_month(servers, container, days, rate, seconds)
        return {
            **month,
            "questions_p50_ms": asked,
            "day_dropped_alone": day,
            "history": {
                "runs": int(sizes.runs),
                "days": days + 1,
                "jobs": jobs,
                "gigabytes": round(sizes.bytes / 1e9, 2),
                "generated_seconds": round(generated_seconds, 1),
            },
        }
    finally:
        await container.close()


async def _ask(url: str, shape: Shape) -> dict[str, dict[str, float]]:
    """The median of five, warm, for the last day and for the last week."""
    page = questions()
    until = midnight(shape.until)
    connection = await asyncpg.connect(url)
    figures: dict[str, dict[str, float]] = {}
    try:
        for question in COMMON:
            figures[question] = {}
            for name, span in (("day", timedelta(days=1)), ("week", timedelta(days=7))):
                statement = filled(page[question], {"since": (until - span).isoformat(), "until": until.isoformat()})
                await connection.fetch(statement)
                took = [await _clock(connection, statement) for _ in range(ROUNDS)]
                figures[question][name] = round(statistics.median(took) * 1000, 1)
    finally:
        await connection.close()
    return figures


async def _clock(connection: Any, statement: str) -> float:
    began = time.perf_counter()
    await connection.fetch(statement)
    return time.perf_counter() - began


async def _drop_day(servers: EmbeddedServers, container: Container, day: date, days: int) -> dict[str, Any]:
    """The oldest day, while nothing else happens: how long, and how many blocks were touched of those that go."""
    database = container.get_database()
    await database.fetch("CHECKPOINT")
    held = await database.fetch_one(BLOCKS, {"day": f"{day:%Y%m%d}"})
    before = await _touched(container)
    seconds, dropped = await _drop(servers, days)
    after = await _touched(container)
    assert held is not None
    return {
        "seconds": round(seconds, 3),
        "tables": dropped,
        "blocks_touched": after - before,
        "blocks_of_the_day": int(held.blocks),
    }


async def _touched(container: Container) -> int:
    # Sessions report what they did once a second.
    await asyncio.sleep(2)
    row = await container.get_database().fetch_one(TOUCHED)
    assert row is not None
    return int(row.blocks)


async def _drop(servers: EmbeddedServers, history_days: int) -> tuple[float, int]:
    """What is past `history_days`, by the callback that replicas run. Returns seconds and the number of tables."""
    container = _container(servers, history_days=history_days)
    try:
        await container.get_database().now()
        began = time.perf_counter()
        dropped = await TableScheduler.cleanup_old_tables()
        return time.perf_counter() - began, len(dropped)
    finally:
        await container.close()


async def _drop_month(
    servers: EmbeddedServers, container: Container, days: int, rate: int, seconds: float
) -> dict[str, Any]:
    """A month, while `rate` jobs fire once a second, evenly spread; lateness before, meanwhile and after."""
    base = datetime(2026, 1, 1, tzinfo=UTC)
    await container.start(
        [
            ScheduleJob(f"fire-{n:04}", f"Fire {n}", "interval", 1, work, start_at=base + timedelta(seconds=n / rate))
            for n in range(rate)
        ]
    )
    tune_gc()
    await asyncio.sleep(WARM_UP_SECONDS)
    marks = [await container.get_database().now()]
    await asyncio.sleep(seconds)
    marks.append(await container.get_database().now())
    took, dropped = await _drop(servers, days - DROPPED_DAYS)
    marks.append(await container.get_database().now())
    await asyncio.sleep(seconds / 2)
    marks.append(await container.get_database().now())
    await container.stop()
    phases: dict[str, dict[str, float]] = {}
    for phase, since, until in zip(("before", "meanwhile", "after"), marks, marks[1:], strict=False):
        row = await container.get_database().fetch_one(LATENESS, {"since": since, "until": until})
        assert row is not None
        phases[phase] = {key: round(float(value), 2) for key, value in row.items() if value is not None}
    quiet = (phases["before"]["p99_ms"] + phases["after"]["p99_ms"]) / 2
    return {
        "p99_ratio_dropping_to_quiet": round(phases["meanwhile"]["p99_ms"] / quiet, 2),
        "lateness": phases,
        "month_dropped": {"seconds": round(took, 2), "tables": dropped},
    }


def _container(servers: EmbeddedServers, *, history_days: int) -> Container:
    settings = load_settings(
        database_url=servers.database_url, redis_url=servers.redis_url, timezone="UTC", history_days=history_days
    )
    return Container(settings)


def _say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what} …", file=sys.stderr)

"""A standby that is promoted may say `running` of what has ended: its owner, which lives, ends it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
from waiting import eventually_async

from scheduler_core import Container, RunContext, ScheduleJob, load_settings
from scheduler_core.storage import embedded
from scheduler_core.storage.postgres import migrate

RUN = "SELECT status, reason, deliveries FROM scheduler.runs WHERE run_id = %s"

# The standby had heard that it began, and no more.
FORGET_END = """
UPDATE scheduler.runs SET status = 'running', finished_at = NULL, attempt = 0,
       attempt_started_at = coalesce(attempt_started_at, started_at)
WHERE run_id = ANY (%s::uuid[]) AND status = 'succeeded'
"""


async def test_what_its_owner_has_no_more_is_ended_and_what_it_has_is_left(tmp_path: Path) -> None:
    calls, gate = Counter[str](), asyncio.Event()

    async def work(ctx: RunContext) -> None:
        calls[ctx.job_id] += 1
        if ctx.job_id == "lasts":
            await gate.wait()

    jobs = [
        ScheduleJob("again", "A", "interval", 86_400, work),
        ScheduleJob("once", "O", "interval", 86_400, work, delivery="at_most_once"),
        ScheduleJob("lasts", "L", "interval", 86_400, work),
    ]
    with embedded.start(tmp_path / "servers") as servers:
        assert servers.postgres is not None
        await asyncio.to_thread(migrate.upgrade, servers.database_url)
        container = Container(
            load_settings(database_url=servers.database_url, redis_url=servers.redis_url, timezone="UTC", lease_ttl=1.0)
        )

        def sees(run: Any) -> Any:
            with psycopg.connect(servers.database_url, autocommit=True) as sql:
                return sql.execute(RUN, [run]).fetchone()

        async def shows(job_id: str, wanted: object) -> bool:
            return bool(sees(runs[job_id]) == wanted)

        async def becomes(job_id: str, *wanted: object) -> None:
            await eventually_async(lambda: shows(job_id, wanted), what=f"{job_id}: {wanted}")

        try:
            scheduler = await container.start(jobs)
            runs = {job.job_id: (await scheduler.operations.trigger(job.job_id)).run_id for job in jobs}
            await becomes("again", "succeeded", None, 0)
            await becomes("once", "succeeded", None, 0)
            await becomes("lasts", "running", None, 0)
            with psycopg.connect(servers.database_url, autocommit=True) as sql:
                assert sql.execute(FORGET_END, [[str(run) for run in runs.values()]]).rowcount == 2
            await asyncio.to_thread(servers.postgres.restart, "immediate")

            await becomes("again", "succeeded", None, 1)
            await becomes("once", "lost", "end_unknown", 1)
            assert sees(runs["lasts"]) == ("running", None, 0)
            gate.set()
            await becomes("lasts", "succeeded", None, 0)
            assert calls == {"again": 2, "once": 1, "lasts": 1}
        finally:
            gate.set()
            await container.close()

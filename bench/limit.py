"""The limit: the same rows, on the same tables of the same server, moved by plain set-based SQL.

For each job that is due: its cursor is moved on, a run is inserted as pending, that run is set to succeeded with its
instants, and the job's counters are raised. That is what a fire writes. Two statements, each one transaction, do so
for 2,000 jobs at a time, as many as the scheduler claims at once; or for all jobs at once. Nothing leaves the server,
nothing is decided, fenced, called or sent: nobody could write these rows with less. The faster of the two is the
limit.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from scheduler_core import ScheduleJob
from scheduler_core.benchmark import callbacks
from scheduler_core.benchmark.stage import Stage
from scheduler_core.benchmark.throughput import EPOCH

BATCH = 2_000

CLAIM = """
WITH due AS (
    SELECT job_id FROM {schema}.jobs WHERE due_at <= :instant ORDER BY due_at LIMIT :batch
), moved AS (
    UPDATE {schema}.jobs j SET next_run = :following, due_at = :following
    FROM due WHERE j.job_id = due.job_id
    RETURNING j.job_id, j.name, j.version
), fired AS (
    INSERT INTO {schema}.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, term, instance_id,
                               definition_version)
    SELECT uuidv7(), job_id, name, :instant, :instant, 'schedule', 'pending', 1, 'limit', version FROM moved
    RETURNING 1
)
SELECT count(*) AS moved FROM fired
"""

RECORD = """
WITH pending AS (
    SELECT run_id, job_id FROM {schema}.runs WHERE status = 'pending' AND scheduled_for = :instant LIMIT :batch
), ended AS (
    UPDATE {schema}.runs r
    SET status = 'succeeded', attempt = 1, started_at = clock_timestamp(), attempt_started_at = clock_timestamp(),
        finished_at = clock_timestamp()
    FROM pending p
    WHERE r.job_id = p.job_id AND r.scheduled_for = :instant
    RETURNING r.job_id, r.started_at
), counted AS (
    UPDATE {schema}.jobs j
    SET run_count = run_count + 1, last_run = e.started_at, last_status = 'succeeded', last_error = NULL,
        consecutive_failures = 0
    FROM ended e WHERE j.job_id = e.job_id
    RETURNING 1
)
SELECT count(*) AS moved FROM counted
"""


class Limit:
    """The jobs of the limit, in a schema of their own; each round moves all of them."""

    def __init__(self, stage: Stage, fires: int) -> None:
        self._stage = stage
        self._fires = fires
        self._instant = EPOCH + timedelta(days=36_500)

    async def prepare(self) -> None:
        """Store the jobs, by the same interface as those of the throughput. They never fall due by themselves."""
        jobs = [
            ScheduleJob(f"job-{n:07}", f"Job {n}", "interval", 60, callbacks.work, start_at=self._instant)
            for n in range(self._fires)
        ]
        await self._stage.add_jobs(jobs)
        self._instant, far = await self._stage.database.now(), self._instant
        await self._reset(far)
        await self._stage.reader.tidy()

    async def _reset(self, far: datetime) -> None:
        await self._stage.database.fetch(
            "UPDATE {schema}.jobs SET next_run = :now, due_at = :now WHERE next_run >= :far",
            {"now": self._instant, "far": far},
        )

    async def play(self, batch: int) -> float:
        """Move all of them once; returns fires per second."""
        following = self._instant + timedelta(seconds=1)
        moment = {"instant": self._instant, "batch": batch}
        began = time.perf_counter()
        for _ in range(0, self._fires, batch):
            await self._move(CLAIM, {**moment, "following": following}, batch)
            await self._move(RECORD, moment, batch)
        seconds = time.perf_counter() - began
        self._instant = following
        return self._fires / seconds

    async def _move(self, statement: str, parameters: dict[str, object], batch: int) -> None:
        row = await self._stage.database.fetch_one(statement, parameters)
        assert row is not None
        assert row.moved == min(batch, self._fires) or self._fires % batch, f"{row.moved} rows were moved"

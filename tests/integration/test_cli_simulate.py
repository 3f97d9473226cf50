"""`scheduler simulate` on stored jobs: their own anchors, calendars and pauses, durations from the history."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import commands
import psycopg

from scheduler_core import Container, ScheduleJob

SUCCEEDED = """
INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, definition_version,
                            started_at, finished_at)
SELECT gen_random_uuid(), 'slow', 'slow', at, at, 'schedule', 'succeeded', 1, at, at + make_interval(secs => n)
FROM generate_series(1, 100) AS n, LATERAL (SELECT date_trunc('hour', now()) - n * interval '1 s' AS at) AS s
"""


async def test_stored_jobs_are_simulated(
    container: Container, environment: dict[str, str], sql: psycopg.Connection[Any], tmp_path: Path
) -> None:
    await container.prepare()
    jobs = [
        ScheduleJob("slow", "Slow", "interval", 60, "apps.idle:work", overlap="queue"),
        ScheduleJob("nightly", "Nightly", "daily", "02:00", "apps.idle:work", timezone="Europe/Berlin"),
        ScheduleJob("paused", "Paused", "interval", 1, "apps.idle:work"),
    ]
    operations = container.get_operations()
    await operations.declare([job.definition("UTC") for job in jobs])
    await operations.pause("paused")
    sql.execute(SUCCEEDED)

    words = ("simulate", "--days", "2", "--from", "2027-03-27", "--history", "--json")
    done = await asyncio.to_thread(commands.scheduler, *words, environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fires"] == 2 * 1440 + 2
    assert found["silent"] == {"paused": "paused"}
    (clash,) = found["overlaps"]
    assert (clash["job_id"], round(clash["duration"], 2)) == ("slow", 95.05)
    assert found["clock_changes"][0]["job_ids"] == ["nightly"]

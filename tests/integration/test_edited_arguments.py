"""Somebody edits a job's arguments in SQL: what is called is what the version says that the run's record names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from apps.customers import sync
from replicas import witnessed
from waiting import eventually_async

from scheduler_core import BaseScheduler, Container, ScheduleJob, load_settings

Sql = psycopg.Connection[Any]


@pytest.fixture
async def leader(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[BaseScheduler]:
    monkeypatch.setenv("WITNESS_FILE", str(tmp_path / "witness"))
    urls = {"database_url": database_url, "redis_url": redis_url, "timezone": "UTC"}
    container = Container(
        load_settings(**urls, lease_ttl=1.0, drain_timeout=2.0, app="apps.customers", process_workers=1)
    )
    yield await container.start()
    await container.close()


@pytest.mark.parametrize("executor", ["local", "process"])
@pytest.mark.parametrize("origin", ["schedule", "trigger"])
async def test_a_run_is_called_as_its_version_says(
    leader: BaseScheduler, sql: Sql, tmp_path: Path, executor: str, origin: str
) -> None:
    every = 0.2 if origin == "schedule" else 86_400
    await leader.add_job(ScheduleJob("j", "J", "interval", every, sync, args=[1], executor=executor))
    witness = {"WITNESS_FILE": str(tmp_path / "witness")}

    async def called_with(number: int) -> None:
        if origin == "trigger":
            await leader.operations.trigger("j")
        await eventually_async(lambda: f"j {number}" in witnessed(witness), what=f"called with {number}")

    await called_with(1)  # from here on every process knows the job as it was
    sql.execute("UPDATE scheduler.jobs SET args = '[2]' WHERE job_id = 'j'")
    await called_with(2)
    [version] = sql.execute("SELECT version FROM scheduler.jobs WHERE job_id = 'j'").fetchone() or [None]
    newest = "SELECT definition_version FROM scheduler.runs WHERE status = 'succeeded' ORDER BY started_at DESC LIMIT 1"
    await eventually_async(lambda: sql.execute(newest).fetchone() == (version,), what="the record names the version")
    lines = witnessed(witness)
    assert "j 1" not in lines[lines.index("j 2") :], "never as it was again"

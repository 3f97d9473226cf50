"""Every door through which a callback's name comes in, with names that lead to what their module only holds.

`apps.lending` is allowed everywhere here. It imports logging, os and subprocess, as modules do.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fastapi import FastAPI
from waiting import eventually_async
from web_clients import with_token

from scheduler_core import Container, ScheduleJob, load_settings
from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.runs.run import RunStatus
from scheduler_core.domain.runs.ticket import Ticket
from scheduler_core.web import create_app

Sql = psycopg.Connection[Any]

SHELL = (
    "apps.lending:logging.os.system",
    "apps.lending:asyncio.create_subprocess_shell",
    "apps.lending:subprocess.run",
    "apps.lending:system",
    "apps.lending:Report.shell",
    "apps.lending:partial",
    "apps.lending:work.__globals__",
)

WELL = "apps.lending:work"

DEFINITION: dict[str, Any] = {
    "job_id": "j",
    "name": "J",
    "schedule_type": "interval",
    "schedule_value": 3600,
    "timezone": "UTC",
}


@pytest.fixture
async def lending(database_url: str, redis_url: str) -> AsyncIterator[Container]:
    made = Container(
        load_settings(
            database_url=database_url,
            redis_url=redis_url,
            timezone="UTC",
            lease_ttl=1.0,
            drain_timeout=2.0,
            allowed_callbacks=["apps.lending"],
        )
    )
    yield made
    await made.close()


@pytest.fixture
def app(lending: Container) -> FastAPI:
    return create_app(lending)


def evil(callback: str, marker: Path) -> dict[str, Any]:
    return DEFINITION | {"callback": callback, "args": [f"touch {marker}"]}


@pytest.mark.parametrize("callback", SHELL)
async def test_the_api_takes_no_such_name(
    callback: str, app: FastAPI, lending: Container, sql: Sql, tmp_path: Path
) -> None:
    secret = (await lending.get_tokens().create("operator", Scope.OPERATOR, days=None, by="tests"))[1]
    async with with_token(app, secret) as operator:
        refused = await operator.post("/api/v1/jobs", json=evil(callback, tmp_path / "x"))
        assert refused.status_code == 422, refused.text
        assert refused.json()["type"] == "urn:scheduler-core:callback-not-allowed"
        assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)

        assert (await operator.post("/api/v1/jobs", json=DEFINITION | {"callback": WELL})).status_code == 201
        edited = await operator.put("/api/v1/jobs/j", json=evil(callback, tmp_path / "x"), headers={"If-Match": "*"})
        assert edited.status_code == 422

        text = f"[jobs.evil]\nevery = 5\ncallback = {json.dumps(callback)}\n"
        for dry_run in ("true", "false"):
            imported = await operator.post(f"/api/v1/jobs-file?dry_run={dry_run}", content=text)
            assert imported.status_code == 422
    assert sql.execute("SELECT job_id, callback FROM scheduler.jobs").fetchall() == [("j", WELL)]


@pytest.mark.parametrize("callback", SHELL)
def test_the_command_line_takes_no_such_name(callback: str, command: Any, sql: Sql, tmp_path: Path) -> None:
    refused = command("jobs", "add", "j", "--callback", callback, "--every", "5", code=1)
    assert "can't be called by its name" in refused.stderr
    (tmp_path / "jobs.toml").write_text(f"[jobs.j]\nevery = 5\ncallback = {json.dumps(callback)}\n")
    refused = command("jobs", "import", "jobs.toml", "--yes", code=1)
    assert "can't be called by its name" in refused.stderr
    assert sql.execute("SELECT count(*) FROM scheduler.jobs").fetchone() == (0,)


async def test_a_row_that_bears_such_a_name_is_called_by_nobody(lending: Container, sql: Sql, tmp_path: Path) -> None:
    """Whoever can write rows is to get no shell by it."""
    await lending.prepare()
    for number, callback in enumerate(SHELL):
        job = ScheduleJob(f"evil-{number}", "Evil", "once", None, WELL, timezone="UTC")
        await lending.get_operations().declare([job.definition("UTC")])
        sql.execute(
            "UPDATE scheduler.jobs SET callback = %s, args = jsonb_build_array(%s::text) WHERE job_id = %s",
            [callback, f"touch {tmp_path / 'called'}", f"evil-{number}"],
        )
    await lending.get_operations().declare(
        [ScheduleJob("good", "Good", "once", None, WELL, timezone="UTC").definition("UTC")]
    )
    await lending.start()

    async def settled() -> bool:
        rows = sql.execute("SELECT job_id, status, reason FROM scheduler.runs").fetchall()
        waiting = {(f"evil-{number}", "pending", "no_callback") for number in range(len(SHELL))}
        return {("good", "succeeded", None), *waiting} == set(rows)

    await eventually_async(settled)
    assert not (tmp_path / "called").exists()


RUN = """
INSERT INTO scheduler.runs (run_id, job_id, job_name, scheduled_for, due_at, origin, status, definition_version, term,
                            instance_id)
SELECT %s, job_id, name, clock_timestamp(), clock_timestamp(), 'schedule', 'pending', version, 7, 'leader'
FROM scheduler.jobs WHERE job_id = 'j'
"""


@pytest.mark.parametrize("callback", SHELL)
async def test_a_worker_that_is_told_that_it_may_does_not(
    callback: str, lending: Container, sql: Sql, tmp_path: Path
) -> None:
    """Processes of a pool and workers of a cluster learn from their leader which names they may call."""
    await lending.prepare()
    job = ScheduleJob("j", "J", "once", "2099-01-01T00:00:00", WELL, timezone="UTC", max_retries=0)
    await lending.get_operations().declare([job.definition("UTC")])
    sql.execute(
        "UPDATE scheduler.jobs SET callback = %s, args = jsonb_build_array(%s::text)",
        [callback, f"touch {tmp_path / 'called'}"],
    )
    worker = lending.make_worker(1)
    worker.allow([callback])
    await worker.start()
    try:
        ticket = Ticket(uuid4(), 1, 7)
        sql.execute(RUN, [ticket.run_id])
        told = await worker.execute(ticket)
    finally:
        await worker.stop(0.0)
    assert told is not None
    assert told.status is RunStatus.PENDING
    waiting = sql.execute("SELECT status, reason FROM scheduler.runs WHERE run_id = %s", [ticket.run_id]).fetchone()
    assert waiting == ("pending", "no_callback")
    assert not (tmp_path / "called").exists()

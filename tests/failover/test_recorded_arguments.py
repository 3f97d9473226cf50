"""Whoever calls a callback, and by whatever door its job came, the arguments are the same to the last detail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from apps import arguments
from apps.arguments import ARGS_AS_JSON, KWARGS_AS_JSON
from replicas import Replicas, witnessed
from waiting import eventually
from web_clients import with_token

from scheduler_core import Container, RunContext, ScheduleJob, load_settings
from scheduler_core.domain.access.access import Scope
from scheduler_core.testing import ManualScheduler
from scheduler_core.web import create_app

Sql = psycopg.Connection[Any]

CALLBACK = "apps.arguments:record"
FOR_LATER = "2099-01-01T00:00:00+00:00"

FILE = f"""
[jobs.file]
once = {FOR_LATER}
callback = "{CALLBACK}"
args = '{ARGS_AS_JSON}'
kwargs = '{KWARGS_AS_JSON}'
"""


@pytest.fixture
def replicas(environment: dict[str, str], tmp_path: Path) -> Iterator[Replicas]:
    variables = {
        "SCHEDULER_ALLOWED_CALLBACKS": '["apps.arguments"]',
        "SCHEDULER_APP": "apps.arguments",
        "SCHEDULER_DASK_ADDRESS": "local",
        "SCHEDULER_PROCESS_WORKERS": "1",
        "SCHEDULER_LEASE_TTL": "1",
    }
    made = Replicas(environment | variables, "apps.arguments", tmp_path)
    yield made
    made.stop()


async def in_virtual_time() -> str:
    """What a closure gets in a test of jobs."""
    seen: list[str] = []

    def closure(ctx: RunContext, when: Any, *rest: Any, price: Any, **more: Any) -> None:
        seen.append(arguments.called_with(when, *rest, price=price, **more))

    closure.__annotations__ = arguments.record.__annotations__
    job = ScheduleJob("j", "J", "interval", 60, closure, args=arguments.ARGS, kwargs=arguments.KWARGS)
    async with ManualScheduler() as scheduler:
        await scheduler.add_job(job)
        await scheduler.advance(180)
    assert len(seen) == 3
    assert len(set(seen)) == 1, "no call sees what the one before it has changed"
    return seen[0]


async def test_every_call_is_the_same(
    replicas: Replicas,
    sql: Sql,
    environment: dict[str, str],
    command: Callable[..., Any],
    database_url: str,
    redis_url: str,
    tmp_path: Path,
) -> None:
    expected = await in_virtual_time()
    replicas.start(1)
    replicas.wait_for(sql, 1)
    policies = [f"--policy=args={ARGS_AS_JSON}", f"--policy=kwargs={KWARGS_AS_JSON}"]
    command("jobs", "add", "command", "--callback", CALLBACK, "--once", FOR_LATER, *policies)
    (tmp_path / "jobs.toml").write_text(FILE, encoding="utf-8")
    command("jobs", "import", "jobs.toml", "--yes")
    await add_by_api(
        load_settings(database_url=database_url, redis_url=redis_url, allowed_callbacks=["apps.arguments"])
    )
    for job_id in ("command", "file", "api", "local"):
        command("jobs", "trigger", job_id)
    called_as = ["local", "local", "process", "dask", "command", "file", "api"]
    eventually(lambda: len(witnessed(environment)) >= len(called_as), within_seconds=60, what="all are called")
    replicas.stop()
    command("jobs", "trigger", "process")
    called_as.append("process")
    # Nobody lives: the next leader adopts it.
    replicas.start(1)
    eventually(lambda: len(witnessed(environment)) >= len(called_as), within_seconds=60, what="the run is adopted")
    lines = [line.partition(" ") for line in witnessed(environment)]
    assert sorted(job_id for job_id, _, _ in lines) == sorted(called_as)
    assert {text for _, _, text in lines} == {expected}
    stored = "SELECT DISTINCT args, kwargs FROM scheduler.jobs WHERE callback = %s"
    assert len(sql.execute(stored, [CALLBACK]).fetchall()) == 1


async def add_by_api(settings: Any) -> None:
    container = Container(settings)
    try:
        _, secret = await container.get_tokens().create("operator", Scope.OPERATOR, days=1, by="tests")
        async with with_token(create_app(container), secret) as client:
            # As it was typed: httpx would write numbers its own way.
            body = {"job_id": "api", "schedule_type": "ONCE", "schedule_value": FOR_LATER, "callback": CALLBACK}
            text = f'{json.dumps(body)[:-1]}, "args": {ARGS_AS_JSON}, "kwargs": {KWARGS_AS_JSON}}}'
            answer: httpx.Response = await client.post(
                "/api/v1/jobs", content=text.encode(), headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 201, answer.text
    finally:
        await container.close()

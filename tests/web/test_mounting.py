"""Inside somebody else's application: the replica lives as long as it does, and the addresses stay right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from waiting import eventually_async

from scheduler_core import SchedulerService, ServiceContainer, load_settings
from scheduler_core.domain.access.access import Scope
from scheduler_core.web import create_app, scheduler_lifespan

Sql = psycopg.Connection[object]


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str) -> None:
    for name, value in (("DATABASE_URL", database_url), ("REDIS_URL", redis_url), ("LEASE_TTL", "1")):
        monkeypatch.setenv(f"SCHEDULER_{name}", value)
    monkeypatch.setenv("SCHEDULER_ALLOWED_CALLBACKS", '["apps.idle"]')


def a_fastapi() -> FastAPI:
    app = FastAPI(lifespan=scheduler_lifespan)
    app.mount("/scheduler", create_app())
    app.add_api_route("/own", lambda: "own")
    return app


def a_starlette() -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with scheduler_lifespan(app):
            yield

    async def own(_request: object) -> PlainTextResponse:
        return PlainTextResponse("own")

    return Starlette(routes=[Mount("/scheduler", create_app()), Route("/own", own)], lifespan=lifespan)


@pytest.mark.parametrize("make", [a_fastapi, a_starlette])
async def test_mounted_it_works_on_the_replica_of_the_process(make, sql: Sql) -> None:
    app = make()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://host.test") as client,
    ):
        scheduler = SchedulerService.get_scheduler()
        await eventually_async(lambda: scheduler.is_leader)
        assert (await client.get("/own")).status_code == 200
        assert (await client.get("/scheduler/api/v1/jobs")).status_code == 401
        asked = await client.get("/scheduler/jobs", headers={"Accept": "text/html"})
        assert asked.headers["location"] == "/scheduler/sign-in?next=/jobs"
        _, secret = await ServiceContainer.get().get_tokens().create("t", Scope.OPERATOR, days=1, by="tests")
        client.headers["Authorization"] = f"Bearer {secret}"
        body = {"job_id": "a/b", "schedule_type": "interval", "schedule_value": 60, "callback": "apps.idle:work"}
        made = await client.post("/scheduler/api/v1/jobs", json=body)
        assert made.status_code == 201, made.text
        assert made.headers["location"] == "/scheduler/api/v1/jobs/a%2Fb"
        assert (await client.get(made.headers["location"])).json()["job_id"] == "a/b"
        leader = (await client.get("/scheduler/api/v1/leader")).json()
        assert leader["instance_id"] == scheduler.instance.instance_id
        assert (await client.get("/scheduler/openapi.json")).status_code == 200
    assert not SchedulerService.is_initialized()
    assert sql.execute("SELECT count(*) FROM scheduler.instances WHERE ended_at IS NULL").fetchone() == (0,)


async def test_an_application_of_its_own_settings_closes_what_it_opened(database_url: str, redis_url: str) -> None:
    app = create_app(settings=load_settings(database_url=database_url, redis_url=redis_url))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host.test") as client,
    ):
        _, secret = await app.state.scheduler.container.get_tokens().create("t", Scope.VIEWER, days=1, by="tests")
        answer = await client.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 200
    assert app.state.scheduler.container._servers._reports is None

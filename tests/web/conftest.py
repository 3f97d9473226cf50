"""An application on the test's servers, a client that calls it as HTTP does, and tokens of each scope."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI
from web_clients import with_token

from scheduler_core import Container, load_settings
from scheduler_core.domain.access.access import Scope
from scheduler_core.web import create_app

MakeToken = Callable[..., Awaitable[str]]


@pytest.fixture
async def app(container: Container) -> AsyncIterator[FastAPI]:
    made = create_app(container)
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def anybody(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://scheduler.test") as client:
        yield client


@pytest.fixture
def make_token(container: Container) -> MakeToken:
    """`await make_token(Scope.VIEWER)`: the secret of a new token."""

    async def make(scope: Scope, name: str | None = None, days: float | None = None) -> str:
        return (await container.get_tokens().create(name or scope.value, scope, days=days, by="tests"))[1]

    return make


@pytest.fixture
async def viewer(app: FastAPI, make_token: MakeToken) -> AsyncIterator[httpx.AsyncClient]:
    async with with_token(app, await make_token(Scope.VIEWER)) as client:
        yield client


@pytest.fixture
async def operator(app: FastAPI, make_token: MakeToken) -> AsyncIterator[httpx.AsyncClient]:
    async with with_token(app, await make_token(Scope.OPERATOR)) as client:
        yield client


@pytest.fixture
async def admin(app: FastAPI, make_token: MakeToken) -> AsyncIterator[httpx.AsyncClient]:
    async with with_token(app, await make_token(Scope.ADMIN)) as client:
        yield client


@pytest.fixture
async def allowing(database_url: str, redis_url: str) -> AsyncIterator[Container]:
    """A container whose settings allow the callbacks of apps.idle."""
    made = Container(
        load_settings(
            database_url=database_url,
            redis_url=redis_url,
            timezone="UTC",
            lease_ttl=1.0,
            drain_timeout=2.0,
            allowed_callbacks=["apps.idle"],
        )
    )
    yield made
    await made.close()

"""The implementations, each ready to be asked; a database for each file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import psycopg
import pytest
from databases import load_schema, url_of

from scheduler_core import Container, load_settings
from scheduler_core.ports.jobs import Jobs
from scheduler_core.ports.runs import Runs
from scheduler_core.testing import VirtualClock
from scheduler_core.testing.ledger import Ledger


@pytest.fixture(scope="module")
def shared_database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    url: str = request.config.servers[0]  # type: ignore[attr-defined]
    name = f"conformance{getattr(request.config, 'workerinput', {}).get('workerid', '')}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        info = admin.info
        server = {"host": info.host, "port": info.port, "user": info.user, "password": info.password}
        load_schema(**server, dbname=name)
        yield url_of(**server, dbname=name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Place(SimpleNamespace):
    """Where jobs are, and their runs."""

    jobs: Jobs
    runs: Runs


@pytest.fixture(params=["storage", "ledger"])
async def place(request: pytest.FixtureRequest, shared_database_url: str) -> AsyncIterator[Place]:
    if request.param == "ledger":
        ledger = Ledger(VirtualClock())
        yield Place(jobs=ledger, runs=ledger)
        return
    container = Container(load_settings(database_url=shared_database_url, timezone="UTC"))
    storage = container.get_storage()
    yield Place(jobs=storage.jobs, runs=storage.runs)
    await container.close()

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

DATABASE = "conformance"


@pytest.fixture(scope="module")
def shared_database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    url: str = request.config.servers[0]  # type: ignore[attr-defined]
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {DATABASE}")
        info = admin.info
        server = {"host": info.host, "port": info.port, "user": info.user, "password": info.password}
        load_schema(**server, dbname=DATABASE)
        yield url_of(**server, dbname=DATABASE)
        admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


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

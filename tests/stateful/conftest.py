"""A machine on a database of its own; one for each file, because to make it takes longer than to play on it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from databases import url_of

from .machine import Machine, Servers, playing

DATABASE = "stateful"


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    url: str = request.config.servers[0]  # type: ignore[attr-defined]
    name = f"{DATABASE}_{request.module.__name__.rpartition('.')[2]}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        info = admin.info
        its_url = url_of(info.host, info.port, info.user, name, info.password)
        try:
            with psycopg.connect(its_url, autocommit=True) as sql:
                made = Servers(its_url, sql)
                try:
                    yield made
                finally:
                    made.close()
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def machine(servers: Servers) -> Iterator[Machine]:
    with playing(servers) as made:
        yield made

"""Several hosts in one URL: whatever one of them does, the others are asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import URL

from scheduler_core.storage.postgres import first_host
from scheduler_core.storage.postgres.first_host import open_first, urls_of_hosts
from scheduler_core.storage.postgres.url import open_session, parse_url

TIMEOUT_SECONDS = 3.0


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of what takes connections and never says a word, as a machine that has stopped does."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


@pytest.fixture
def shut_port() -> int:
    """Where nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def with_hosts(database_url: str, *before: int, query: str = "") -> str:
    """The same URL with these ports of loopback named before its own."""
    head, _, rest = database_url.rpartition("@")
    own, _, name = rest.partition("/")
    return f"{head}@{','.join((*(f'127.0.0.1:{port}' for port in before), own))}/{name}{query}"


async def database_of(url: str) -> str:
    session = await open_session(parse_url(url), timeout_seconds=TIMEOUT_SECONDS)
    try:
        return str(await session.fetchval("SELECT current_database()"))
    finally:
        await session.close()


@pytest.mark.parametrize("query", ["", "?target_session_attrs=primary", "?target_session_attrs=read-write"])
async def test_a_silent_host_keeps_nobody_from_the_next(database_url: str, silent_port: int, query: str) -> None:
    """The driver's time-out is for all of them: it was used up by the first, and the next was never asked."""
    url = with_hosts(database_url, silent_port, silent_port, query=query)
    assert await database_of(url) == parse_url(database_url).database


async def test_a_host_where_nobody_listens_is_passed_over(database_url: str, shut_port: int) -> None:
    assert await database_of(with_hosts(database_url, shut_port)) == parse_url(database_url).database


async def test_of_all_that_went_wrong_the_servers_own_word_is_told(
    database_url: str, silent_port: int, shut_port: int
) -> None:
    url = parse_url(with_hosts(database_url, shut_port, silent_port)).set(password="wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await open_session(url, timeout_seconds=1.0)


async def test_where_none_is_of_use_that_is_told(database_url: str, shut_port: int) -> None:
    url = parse_url(with_hosts(database_url, shut_port, query="?target_session_attrs=standby"))
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
        await open_session(url, timeout_seconds=TIMEOUT_SECONDS)


async def test_a_standby_that_is_promoted_meanwhile_is_not_kept_waiting_by_a_silent_host(
    database_url: str, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former primary is silent, and its standby has said that it is none yet: it is asked again, and soon."""
    monkeypatch.setattr(first_host, "PATIENCE_SECONDS", 0.02)
    asked: list[str] = []

    async def open_one(url: URL) -> asyncpg.Connection[Any]:
        asked.append(str(url.query["host"]))
        if asked.count(asked[-1]) < 3 and asked[-1] != f"127.0.0.1:{silent_port}":
            raise asyncpg.TargetServerAttributeNotMatched("not yet")
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        connection: asyncpg.Connection[Any] = await asyncpg.connect(plain, timeout=60)
        return connection

    hosts = urls_of_hosts(parse_url(with_hosts(database_url, silent_port)))
    session = await open_first(hosts, open_one)
    await session.close()
    assert asked == [f"127.0.0.1:{silent_port}", *[str(hosts[1].query["host"])] * 3]


async def test_all_are_silent(silent_port: int) -> None:
    url = f"postgresql://u@127.0.0.1:{silent_port},127.0.0.1:{silent_port}/d"
    with pytest.raises(TimeoutError):
        await open_session(parse_url(url), timeout_seconds=0.5)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u@h/d", ["h None None"]),
        ("postgresql://u@h1:1,h2:2/d", ["None h1:1 None", "None h2:2 None"]),
        ("postgresql://u@/d?host=h1,h2&port=1,2", ["None h1 1", "None h2 2"]),
        ("postgresql://u@/d?host=h1,h2&port=7", ["None h1 7", "None h2 7"]),
        ("postgresql://u@/d?host=h1,h2&port=1,2,3", ["None h1,h2 1,2,3"]),
        ("postgresql://u@h1,h2/d?target_session_attrs=prefer-standby", ["None h1,h2 None"]),
    ],
)
def test_each_host_has_its_own_port(url: str, hosts: list[str]) -> None:
    found = urls_of_hosts(parse_url(url))
    assert [f"{u.host} {u.query.get('host')} {u.query.get('port')}" for u in found] == hosts

"""The client's side of stepped sessions: a connection, the pool of a `Database`, the control session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property, lru_cache
from types import SimpleNamespace
from typing import Any

from scheduler_core.storage.fire.control_session import PostgresControlSession
from scheduler_core.storage.postgres.database import CONNECT_TIMEOUT_SECONDS, Database

from ..network import Link
from ..postgres_server import SCHEMA, Connection, open_connection
from .stepped_postgres import SteppedPostgres


class SteppedConnection(Connection):
    """As much of `asyncpg.Connection` as the product uses."""

    async def fetch(self, sql: str, *arguments: Any, record_class: type | None = None) -> Sequence[Any]:
        try:
            rows: Sequence[Any] = await Connection.fetchrow(self, sql, *arguments)
        except asyncio.CancelledError:
            self._link.up.send(lambda: self._server.cancel(self.backend))  # type: ignore[attr-defined]
            raise
        return rows

    async def fetchrow(self, sql: str, *arguments: Any) -> Any:
        rows = await self.fetch(sql, *arguments)
        return rows[0] if rows else None

    async def add_listener(self, channel: str, listener: Any) -> None:
        def told(payload: str) -> None:
            if not self._closed:
                listener(self, 0, channel, payload)

        self.backend.heard = lambda payload: self._link.down.send(  # type: ignore[attr-defined]
            lambda: self._post(told, payload)
        )


class SteppedPool:
    """The pool of one `Database`: as SQLAlchemy's, whose connection used last is used next."""

    def __init__(self, database: SteppedDatabase, open_session: Callable[[], Any], size: int) -> None:
        self._database = database
        self._open = open_session
        self._room = asyncio.Semaphore(size)
        self._idle: list[SteppedConnection] = []

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        async with self._room:
            driver = await self._check_out()
            try:
                yield SimpleNamespace(
                    sync_connection=SimpleNamespace(connection=SimpleNamespace(driver_connection=driver))
                )
            finally:
                self._check_in(driver)

    async def _check_out(self) -> SteppedConnection:
        while self._idle:
            driver = self._idle.pop()
            self._database._idle.discard(driver)  # type: ignore[arg-type]
            if not driver.is_closed():
                return driver
        opened: SteppedConnection = await self._open()
        return opened

    def _check_in(self, driver: SteppedConnection) -> None:
        if driver.is_closed():
            return
        if self._database.__dict__.get("_engine") is self:
            self._idle.append(driver)
            self._database._idle.add(driver)  # type: ignore[arg-type]
        else:
            driver.terminate()


class SteppedDatabase(Database):
    """The real door to Postgres, over a simulated pool."""

    def __init__(self, server: SteppedPostgres, link: Link, owner: str, *, pool_size: int = 8) -> None:
        super().__init__("postgresql://postgres@simulated/d", SCHEMA, pool_size=pool_size)
        self._server, self._link, self._owner = server, link, owner
        self._statement = bind

    @cached_property
    def _engine(self) -> Any:  # type: ignore[override]
        return SteppedPool(self, self._open_stepped, self._pool_size)

    async def _open_stepped(self) -> Any:
        return await open_connection(self._server, self._link, self._owner, CONNECT_TIMEOUT_SECONDS, make=_pooled)


def _pooled(server: Any, link: Link, owner: str, _timeout_seconds: float) -> SteppedConnection:
    # Its statements are limited where they are sent.
    return SteppedConnection(server, link, owner, 60.0)


class SteppedSession(PostgresControlSession):
    """The real control session, over a simulated connection."""

    def __init__(self, server: SteppedPostgres, link: Link, owner: str, *, ttl_seconds: float) -> None:
        super().__init__("postgresql://postgres@simulated/d", SCHEMA, ttl_seconds=ttl_seconds)
        self._server, self._link, self._owner = server, link, owner

    async def _connect(self, application_name: str) -> Any:
        return await open_connection(self._server, self._link, self._owner, 3.0, make=SteppedConnection)


_binder = Database("postgresql://postgres@simulated/d", SCHEMA)


@lru_cache(maxsize=2048)
def bind(template: str) -> tuple[str, tuple[str, ...]]:
    """A statement as the driver wants it, and the names of its parameters in their order."""
    return _binder._bind_names(template)

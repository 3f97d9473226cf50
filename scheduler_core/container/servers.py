"""The servers of one container: where they are, and the connections to them, made when first asked for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from scheduler_core.ports.election import Locks
from scheduler_core.settings import Settings
from scheduler_core.storage.fire.runs import HOT_PATH_SETTINGS
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.url import parse_url, server_name
from scheduler_core.storage.redis.leases import LeaseStore
from scheduler_core.storage.redis.locks import LockService
from scheduler_core.storage.redis.url import connect, redis_server_name

if TYPE_CHECKING:
    from scheduler_core.storage.embedded import EmbeddedServers

LOCK_TIMEOUT_SECONDS = 1.0

PAGE_SETTINGS = {"statement_timeout": "5s", "jit": "off"}
"""Of the sessions that read for pages: one that asks for too much is told so, and compiles nothing."""


class Servers:
    """Postgres and Redis, as the settings name them, else embedded ones.

    Pools are apart, so that nobody waits for a connection behind somebody else's work.
    """

    def __init__(self, settings: Settings, lock_service: Locks | None) -> None:
        self._settings = settings
        self._lock_service = lock_service
        self._lock_client: Any = None
        self._embedded: EmbeddedServers | None = None
        self._reports: Database | None = None
        self._engine: Database | None = None
        self._pages: Database | None = None
        self._direct: Database | None = None

    @property
    def database_url(self) -> str:
        """The configured Postgres, else the embedded one, which is started."""
        return self._settings.database_url or self._get_embedded().database_url

    @property
    def redis_url(self) -> str:
        """The configured Redis, else the embedded one, which is started."""
        return self._settings.redis_url or self._get_embedded().redis_url

    def describe(self) -> str:
        """The servers, for people: hosts and ports, no password."""
        postgres = server_name(parse_url(self.database_url))
        return f"Postgres {postgres}, Redis {redis_server_name(self.redis_url)}"

    def reports(self) -> Database:
        """Statements on the configured Postgres, for reports and operators."""
        if self._reports is None:
            self._reports = Database(lambda: self.database_url, self._settings.schema)
        return self._reports

    def engine(self) -> Database:
        """The same for the engine: a report that takes long must not keep a claim waiting for a connection."""
        if self._engine is None:
            self._engine = Database(lambda: self.database_url, self._settings.schema, settings=HOT_PATH_SETTINGS)
        return self._engine

    def pages(self) -> Database:
        """The same for pages that people look at: few connections, and no statement that goes on for long."""
        if self._pages is None:
            self._pages = Database(
                lambda: self.database_url, self._settings.schema, pool_size=4, settings=PAGE_SETTINGS
            )
        return self._pages

    def direct(self) -> Database | None:
        """The same past a pooler, for what needs a session of its own; None where the settings name no such way."""
        url = self._settings.control_database_url
        if url is not None and self._direct is None:
            self._direct = Database(url, self._settings.schema, pool_size=2)
        return self._direct

    def lock_service(self) -> Locks:
        """The lock service that was given, else ours on the configured Redis."""
        if self._lock_service is None:
            self._lock_client = connect(self.redis_url, timeout_seconds=LOCK_TIMEOUT_SECONDS)
            self._lock_service = LockService(self._lock_client)
        return self._lock_service

    def uses(self, lock_service: Locks) -> bool:
        """Whether this is the lock service that has been given, or made."""
        return lock_service is self._lock_service

    def open_lease(self) -> LeaseStore:
        """The lease on the configured Redis, on a connection of its own."""
        return LeaseStore(self.redis_url, timeout_seconds=self._settings.timing.redis_timeout_seconds)

    async def close(self) -> None:
        """Close each of them whatever becomes of the others; what is asked for from now on is made anew."""
        databases = (self._reports, self._engine, self._direct, self._pages)
        lock_client, embedded = self._lock_client, self._embedded
        self._reports = self._engine = self._direct = self._pages = self._embedded = None
        if lock_client is not None:
            self._lock_client = self._lock_service = None
        # The last one in is the first to close.
        async with contextlib.AsyncExitStack() as closing:
            if embedded is not None:
                from scheduler_core.storage.embedded import shared

                closing.push_async_callback(asyncio.to_thread, shared.give_back, embedded)
            if lock_client is not None:
                closing.push_async_callback(_close_client, lock_client)
            for database in databases:
                if database is not None:
                    closing.push_async_callback(database.close)

    def _get_embedded(self) -> EmbeddedServers:
        if self._embedded is None:
            from scheduler_core.storage.embedded import shared

            self._embedded = shared.take(self._settings.data_dir)
        return self._embedded


async def _close_client(client: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop of its connections is closed, and so are they
        await client.aclose()

"""Hearing of offers: a session of its own, which does nothing but listen.

The control session can't: a follower's waits in Postgres for the leader's witness to fall, and hears nothing meanwhile.
Behind a transaction pooler nothing is heard; offered runs are then found by looking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from scheduler_core.storage.postgres.database import DRIVER_ERRORS
from scheduler_core.storage.postgres.errors import explain
from scheduler_core.storage.postgres.keys import OFFER_CHANNEL
from scheduler_core.storage.postgres.url import open_settled_session, parse_url

CONNECT_TIMEOUT_SECONDS = 3.0
PROBE_SECONDS = 5.0
"""A connection that was cut without a word is found by then."""


class PostgresOfferListener:
    """Parameters: url, a direct address of Postgres; schema, the scheduler's."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = parse_url(url)
        self._schema = schema

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` whenever runs are offered, and once at the beginning, until the connection ends.

        Raises ServerUnreachableError.
        """
        try:
            connection, _ = await open_settled_session(
                self._url,
                timeout_seconds=CONNECT_TIMEOUT_SECONDS,
                application_name="scheduler offers",
                command_timeout=CONNECT_TIMEOUT_SECONDS,
                statement_cache_size=0,
            )
        except DRIVER_ERRORS as error:
            raise explain(error, self._url, self._schema) from error
        try:
            await self._listen(connection, heard)
        except DRIVER_ERRORS as error:
            raise explain(error, self._url, self._schema) from error
        finally:
            connection.terminate()

    async def _listen(self, connection: asyncpg.Connection[Any], heard: Callable[[], None]) -> None:
        ended = asyncio.Event()

        def notified(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
            if payload == self._schema:
                heard()

        connection.add_termination_listener(lambda _ended: ended.set())
        await connection.add_listener(OFFER_CHANNEL, notified)
        heard()
        while not ended.is_set():
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    await ended.wait()
            except TimeoutError:
                await connection.execute("SELECT")

"""The door to Postgres: one pooled engine in autocommit, statements bound to the scheduler's schema.

Every write of the scheduler is one statement, so autocommit is its transaction: wrapped in BEGIN and COMMIT the
session would sit idle in transaction for 39 % of the time (measured). SQLAlchemy pools the connections, binds the
names and runs the DDL; the statements themselves go straight to asyncpg, whose rows need no second making. Drivers'
errors leave here as ours, so that the engine needs to know no driver, and no password ever reaches a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from scheduler_core.domain.errors import RefusedForNowError, SchedulerError
from scheduler_core.runtime.loop_affinity import Elsewhere, LoopAffinity
from scheduler_core.storage.postgres.errors import DatabaseClosedError, UnreadableRowError, explain
from scheduler_core.storage.postgres.placeholders import fill
from scheduler_core.storage.postgres.schema_name import check_schema_name
from scheduler_core.storage.postgres.sqlstates import Condition, condition_of_error
from scheduler_core.storage.postgres.url import (
    SESSION_SETTINGS,
    let_go_of,
    open_settled_session,
    parse_url,
    server_name,
)

DRIVER_ERRORS = (
    OSError,
    TimeoutError,
    RuntimeError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Whatever asyncpg raises. A connection that ends at the wrong moment causes internal errors, and uvloop's
RuntimeError where the driver writes to it once more."""

COMMAND_TIMEOUT_SECONDS = 30.0
PREPARED_STATEMENTS = 100
CONNECT_TIMEOUT_SECONDS = 5.0
GIVE_BACK_SECONDS = 3.0

REMEDIES = dict.fromkeys(
    Elsewhere,
    "A Container serves one event loop: call this there (asyncio.run_coroutine_threadsafe), or use its beside() here",
)
_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]

logger = logging.getLogger("scheduler_core")

_pools: weakref.WeakSet[Database] = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for pool in list(_pools):
        pool._leave_to_parent()


# A child forked without exec would talk on its parent's sessions, and end them as it ends.
os.register_at_fork(after_in_child=_leave_all_to_parent)


class Row(asyncpg.Record):  # type: ignore[misc] # the driver's class comes without types
    """A row, whose columns are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Database:
    """Statements for one schema on one server.

    Parameters: url, where Postgres is; schema, the scheduler's; pool_size, the most connections at once; settings,
    parameters of each session.
    """

    def __init__(
        self,
        url: str | Callable[[], str],
        schema: str = "scheduler",
        *,
        pool_size: int = 8,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._given_url = url
        self._settings = SESSION_SETTINGS | dict(settings or {})
        self._is_pooled = False
        """Whether a transaction pooler was found before the server."""
        self.schema = check_schema_name(schema)
        self._pool_size = pool_size
        self._open: set[asyncpg.Connection[Any]] = set()
        """Every connection that is open, whoever has it: what a pool let go of would be left to the collector."""
        self._idle: set[asyncpg.Connection[Any]] = set()
        self._users = 0
        self._unused = asyncio.Event()
        self._is_closed = False
        self._home = LoopAffinity("each connection with Postgres", REMEDIES)
        _pools.add(self)
        self._statement = lru_cache(maxsize=256)(self._bind_names)

    @cached_property
    def url(self) -> URL:
        """Where Postgres is. A function given as url is asked now, and not before somebody needs to know."""
        return parse_url(self._given_url if isinstance(self._given_url, str) else self._given_url())

    @cached_property
    def _engine(self) -> AsyncEngine:
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._open_session,
            isolation_level="AUTOCOMMIT",
            pool_size=self._pool_size,
            max_overflow=0,
            # The connection used last is used next: its statements are prepared.
            pool_use_lifo=True,
            pool_timeout=COMMAND_TIMEOUT_SECONDS,
            json_deserializer=_decode_json,
        )

        @event.listens_for(engine.sync_engine, "checkout")
        def check_out(connection: Any, _record: Any, _proxy: Any) -> None:
            if connection.driver_connection.is_closed():
                raise DisconnectionError  # the pool then makes another
            self._idle.discard(connection.driver_connection)

        @event.listens_for(engine.sync_engine, "checkin")
        def check_in(connection: Any, _record: Any) -> None:
            if connection is None:
                return
            if self.__dict__.get("_engine") is engine:
                self._idle.add(connection.driver_connection)
            else:
                # Nobody will ask the pool that was left for it.
                connection.driver_connection.terminate()

        return engine

    async def _open_session(self) -> asyncpg.Connection[Any]:
        connection, is_settled = await self._open_once()
        if not is_settled and not self._is_pooled:
            connection.terminate()
            self._is_pooled = True
            logger.warning(
                "a transaction pooler stands before Postgres at %s: each statement is prepared anew, in a "
                "transaction of its own; a direct address is faster",
                server_name(self.url),
            )
            connection, _ = await self._open_once()
        if self._is_closed:
            connection.terminate()
            raise self._closed()
        self._open.add(connection)
        connection.add_termination_listener(self._forget)
        return connection

    async def _open_once(self) -> tuple[asyncpg.Connection[Any], bool]:
        # What is prepared behind a pooler stays with a server process that the next statement may not be given.
        return await open_settled_session(
            self.url,
            timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            settings=self._settings,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            statement_cache_size=0 if self._is_pooled else PREPARED_STATEMENTS,
        )

    def _forget(self, connection: asyncpg.Connection[Any]) -> None:
        self._open.discard(connection)
        self._idle.discard(connection)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool, in the running event loop. Raises DatabaseClosedError, WrongLoopError."""
        if self._is_closed:
            raise self._closed()
        if self._home.has_ended:
            self._forget_pool()
        self._home.enter("a statement")
        self._users += 1
        try:
            async with self._engine.connect() as connection:
                yield connection
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    def _forget_pool(self) -> None:
        """The event loop of these connections is gone: nobody can use them any more, nor close them in good order."""
        engine: AsyncEngine | None = self.__dict__.pop("_engine", None)
        if engine is not None:
            engine.sync_engine.dispose(close=False)
        self._idle.clear()
        self._open.clear()
        self._users = 0
        self._unused = asyncio.Event()
        self._home.leave()

    def _leave_to_parent(self) -> None:
        """In a forked child: its parent's sessions are none of ours, and must not be ended by us."""
        if not self._home.has_ended:
            for connection in self._open:
                let_go_of(connection)
        self._forget_pool()

    def __repr__(self) -> str:
        return f"Database(schema={self.schema})"

    def _bind_names(self, template: str) -> tuple[str, tuple[str, ...]]:
        """A statement as the driver wants it, and the names of its parameters in their order."""
        statement = text(fill(template, self.schema))
        compiled = statement.compile(dialect=_DIALECT)
        return str(compiled), tuple(getattr(compiled, "positiontup", None) or ())

    async def fetch(
        self,
        template: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
    ) -> Sequence[Row]:
        """Run one statement, as one transaction, and return its rows.

        Parameters: timeout_seconds, when the answer is given up; whether the statement was executed is then unknown.
        Raises ServerUnreachableError, SchemaError or another SchedulerError; a missing partition is
        MissingPartitionError, a value that Python does not have UnreadableRowError.
        """
        statement, names = self._statement(template)
        arguments = [parameters[name] for name in names] if parameters else ()
        try:
            return await self._fetch_once(statement, arguments, timeout_seconds)
        except RefusedForNowError as error:
            if condition_of_error(error) is not Condition.UNFIT_SESSION:
                raise
            # Nothing was written, and a new session may be with the primary.
            return await self._fetch_once(statement, arguments, timeout_seconds)

    async def _fetch_once(self, statement: str, arguments: Sequence[Any], timeout_seconds: float) -> Sequence[Row]:
        used: list[asyncpg.Connection[Any]] = []
        out_of_patience = asyncio.get_running_loop().call_later(timeout_seconds, self._abandon_connections, used)
        try:
            # The outer limit is for the way back into the pool, where a driver may wait for what will never come.
            async with asyncio.timeout(timeout_seconds + GIVE_BACK_SECONDS), self._connect() as connection:
                driver = _driver_of(connection)
                used.append(driver)
                if self._is_pooled:
                    return await self._fetch_pooled(driver, statement, arguments)
                rows: Sequence[Row] = await driver.fetch(statement, *arguments, record_class=Row)
                return rows
        except (SQLAlchemyError, *DRIVER_ERRORS) as error:
            if condition_of_error(error) is Condition.UNFIT_SESSION:
                # The idle ones were opened to the same place: a primary that turned reader keeps all its sockets open.
                self._abandon_connections(used)
            raise self.explain(error) from error
        except AttributeError as error:
            # Of a connection that was closed in the middle of a step: the driver has taken it apart.
            if not self._is_closed:
                raise
            raise self._closed() from error
        except (ValueError, OverflowError) as error:
            # The answer is there, and Python has no such value: a date BC, a number of five thousand digits.
            raise UnreadableRowError(f"a row holds a value that can't be read ({error}): correct it in SQL") from error
        finally:
            out_of_patience.cancel()

    async def _fetch_pooled(
        self, driver: asyncpg.Connection[Any], statement: str, arguments: Sequence[Any]
    ) -> Sequence[Row]:
        """Behind a pooler only a transaction has one server process from beginning to end, settings and all."""
        async with driver.transaction(isolation="read_committed"):
            await driver.execute("".join(f"SET LOCAL {name} = '{value}';" for name, value in self._settings.items()))
            rows: Sequence[Row] = await driver.fetch(statement, *arguments, record_class=Row)
            return rows

    async def fetch_one(
        self,
        template: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
    ) -> Row | None:
        """The first row of `fetch`, or None."""
        rows = await self.fetch(template, parameters, timeout_seconds=timeout_seconds)
        return rows[0] if rows else None

    def _abandon_connections(self, used: Sequence[asyncpg.Connection[Any]]) -> None:
        """Neither these nor an idle one is known to lead anywhere: after an answer that never came, or a reader's.

        A network that swallows packets says nothing. Trying the pooled connections one by one would take a time-out
        each, long after the network is back: there is another pool from now on. What other statements are using is
        left to their own limits, and closed as they give it back.
        """
        self.__dict__.pop("_engine", None)
        for connection in [*used, *self._idle]:
            connection.terminate()

    async def now(self) -> datetime:
        """The database's time: it says what is due."""
        row = await self.fetch_one("SELECT clock_timestamp() AS now")
        assert row is not None
        now: datetime = row.now
        return now

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A real transaction, for the few things that take several statements (DDL)."""
        async with self._connect() as connection:
            scoped = await connection.execution_options(isolation_level="READ COMMITTED")
            async with scoped.begin():
                yield scoped

    async def run_alone(self, statements: Sequence[str]) -> None:
        """Run statements one by one on a session of their own, outside of any transaction."""
        try:
            async with self._connect() as connection:
                try:
                    for statement in statements:
                        await connection.execute(text(statement))
                finally:
                    # What was set here must not travel with the connection back into the pool.
                    await connection.invalidate()
        except (SQLAlchemyError, *DRIVER_ERRORS) as error:
            raise self.explain(error) from error

    def explain(self, error: BaseException) -> SchedulerError:
        """A driver's error as one of ours: what happened to which server, and what to do."""
        return self._closed() if self._is_closed else explain(error, self.url, self.schema)

    def _closed(self) -> DatabaseClosedError:
        return DatabaseClosedError(
            f"the connections with Postgres at {server_name(self.url)} are closed: their owner has ended"
        )

    async def close(self) -> None:
        """Close every connection, for good. A statement that is under way ends with DatabaseClosedError.

        Idle connections take their leave, the others are cut off; both within GIVE_BACK_SECONDS.
        Raises WrongLoopError where they belong to another event loop, which goes on.
        """
        if self._home.has_ended:
            self._forget_pool()
        self._home.check("closing")
        self._is_closed = True
        engine: AsyncEngine | None = self.__dict__.pop("_engine", None)
        try:
            if engine is not None:
                with contextlib.suppress(SQLAlchemyError, *DRIVER_ERRORS):
                    async with asyncio.timeout(GIVE_BACK_SECONDS):
                        await engine.dispose()
        finally:
            for connection in tuple(self._open):
                connection.terminate()
        # Whoever ends the event loop next must not meet one that is on its way back.
        self._unused.clear()
        if self._users:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GIVE_BACK_SECONDS):
                    await self._unused.wait()
        self._home.leave()


_EMPTY_JSON: Mapping[str, Callable[[], Any]] = {"[]": list, "{}": dict}


def _decode_json(text: str) -> Any:
    """Most jobs have no arguments."""
    empty = _EMPTY_JSON.get(text)
    try:
        return json.loads(text) if empty is None else empty()
    except RecursionError:
        # A RuntimeError, which would look like a connection that broke.
        raise ValueError("JSON is nested too deeply") from None


def _driver_of(connection: AsyncConnection) -> asyncpg.Connection[Any]:
    assert connection.sync_connection is not None
    driver: asyncpg.Connection[Any] = connection.sync_connection.connection.driver_connection
    return driver


# Not to_regclass: behind a wait for a lock it may answer from a cache that is older than the wait.

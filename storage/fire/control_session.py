"""The control session: one direct connection to Postgres, the witnesses held on it, and the leader's row.

Two advisory locks of the session prove life. *Life* stands for this process start, *leadership* for one claim,
under the claim's fresh nonce. Both fall when the process dies, because its socket does: 2 to 4 ms after kill -9
(measured). The session is never pooled: behind a transaction pooler advisory locks don't hold and don't complain,
so `open` looks for one, and behind it only the lease's TTL tells of a death.

asyncpg is used directly here: this session listens, waits and is torn down from a fork handler, and a layer in
between would only hide that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import weakref
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import asyncpg

from scheduler_core.domain.errors import SchedulerError, SchemaError, ServerUnreachableError
from scheduler_core.domain.runs.run import Outcome
from scheduler_core.ports.election import Instance, LeaderRow, Leadership, LeaseName, SessionListener
from scheduler_core.storage.fire.term_statements import (
    CLAIM_TERM,
    CONFIRM,
    DEPART,
    EVICT,
    FORGET_OLD,
    LAST_SEEN,
    LEADER,
    MARK_RUNNING,
    RECLAIM,
    REGISTER,
    RESIGN,
    SEEN,
)
from scheduler_core.storage.fire.witness_session import is_direct, settle_witness_session
from scheduler_core.storage.postgres.database import DRIVER_ERRORS
from scheduler_core.storage.postgres.errors import explain
from scheduler_core.storage.postgres.keys import LEASE_NAME, NUDGE_CHANNEL, advisory_key, lease_name
from scheduler_core.storage.postgres.placeholders import fill
from scheduler_core.storage.postgres.schema_name import check_schema_name
from scheduler_core.storage.postgres.sqlstates import condition_of_error
from scheduler_core.storage.postgres.url import let_go_of, open_settled_session, parse_url, server_name

CONNECT_TIMEOUT_SECONDS = 3.0

T = TypeVar("T")

logger = logging.getLogger("scheduler_core")


class RowHeldError(SchedulerError):
    """Another session holds a row for longer than a candidate waits."""


_open_sessions: weakref.WeakSet[PostgresControlSession] = weakref.WeakSet()


def _abandon_all() -> None:
    for session in list(_open_sessions):
        session.abandon()


# A child forked without exec (multiprocessing) would keep the socket open, and so a dead leader's witness alive.
os.register_at_fork(after_in_child=_abandon_all)


class PostgresControlSession:
    """A replica's own session with Postgres, which holds its witnesses and moves the leader's row.

    One object is one connection.

    Parameters: url, a direct address of Postgres; schema, the scheduler's; ttl_seconds, the lease's: calls are
    given up in a fraction of it, and the server drops the session of a stopped process after about it.
    """

    def __init__(self, url: str, schema: str, *, ttl_seconds: float) -> None:
        self._url = parse_url(url)
        self._schema = check_schema_name(schema)
        self._ttl_seconds = ttl_seconds
        self._call_timeout_seconds = max(0.5, ttl_seconds / 3)
        self._lock_timeout_seconds = self._call_timeout_seconds / 2
        self._connection: asyncpg.Connection[Any] | None = None
        self._instance: Instance | None = None
        self._is_direct: bool | None = None
        """Whether no transaction pooler stands between; None before anybody has looked."""
        self._witnesses_work = False
        self._busy = asyncio.Lock()
        self._max_wait_seconds = 0.7
        self._leadership_key: int | None = None
        self._lease_name: LeaseName | None = None

    @property
    def lease_name(self) -> LeaseName:
        assert self._lease_name is not None, "the session was never opened"
        return self._lease_name

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    @property
    def witnesses_work(self) -> bool:
        return self._witnesses_work

    async def open(self, instance: Instance, listener: SessionListener) -> datetime:
        """Connect, take the life witness, register the replica, listen for nudges.

        Returns when this replica registered first, by the database's clock.
        Raises ServerUnreachableError, SchemaError.
        """
        self._instance = instance
        try:
            connection = await self._connect(f"scheduler control {instance.instance_name}")
        except DRIVER_ERRORS as error:
            raise explain(error, self._url, self._schema) from error
        self._connection = connection
        _open_sessions.add(self)
        try:
            # A name of this session's own: who saw the former one's can't be there before us, and the former session,
            # which the server may believe in for long, has nothing that we would have to wait for.
            life = advisory_key("life", self._schema, instance.instance_id, secrets.token_hex(8))
            if self._is_direct is None:
                self._is_direct = await is_direct(connection, lambda: self._connect("scheduler probe"))
            if self._is_direct:
                self._max_wait_seconds = await settle_witness_session(
                    connection, ttl_seconds=self._ttl_seconds, lock_timeout_seconds=self._lock_timeout_seconds
                )
                self._witnesses_work = await connection.fetchval("SELECT pg_try_advisory_lock($1)", life)
            started: datetime = await connection.fetchval(
                self._sql(REGISTER),
                instance.instance_id,
                instance.instance_name,
                instance.host,
                instance.pid,
                instance.version,
                instance.eligible,
                list(instance.abilities.callbacks),
                life if self._witnesses_work else None,
                instance.abilities.application,
                list(instance.abilities.packages),
                list(instance.abilities.allows),
                list(instance.executes) or None,
                instance.slots if instance.executes else None,
            )
            await connection.execute(self._sql(FORGET_OLD), instance.instance_id)
            self._lease_name = lease_name(await connection.fetchrow(self._sql(LEASE_NAME)), self._schema)
            prefix = f"{self._schema}:"

            def heard(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
                text = str(payload)
                if text.startswith(prefix):
                    listener.nudged(text.removeprefix(prefix))

            def lost(ended: Any) -> None:
                # One that was let go of for another says nothing of that.
                if ended is self._connection:
                    listener.session_lost()

            connection.add_termination_listener(lost)
            if self._witnesses_work:
                await connection.add_listener(NUDGE_CHANNEL, heard)
        except BaseException as error:
            # Whatever went wrong, a cancellation too: nobody knows yet that there is a session to close.
            self._connection = None
            connection.terminate()
            if isinstance(error, DRIVER_ERRORS):
                raise explain(error, self._url, self._schema) from error
            raise
        return started

    async def _connect(self, application_name: str) -> asyncpg.Connection[Any]:
        connection, _ = await open_settled_session(
            self._url,
            timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            application_name=application_name,
            # For the statements of opening, which no lease hurries; `_call` holds the others to the TTL.
            command_timeout=CONNECT_TIMEOUT_SECONDS,
            statement_cache_size=0,
        )
        return connection

    async def uptime_seconds(self) -> float:
        """How long the server has been up: a witness that fell with the server is no death certificate."""
        return await self._call(
            lambda c: c.fetchval("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8")
        )

    async def leader(self) -> LeaderRow:
        """The leader's row."""
        row = await self._call(lambda c: c.fetchrow(self._sql(LEADER)))
        if row is None:
            raise SchemaError(
                f"the table {self._schema}.leader has lost its row: INSERT INTO {self._schema}.leader (term) "
                f"SELECT coalesce(max(term), 0) FROM {self._schema}.leader_terms"
            )
        return LeaderRow(row["term"], row["nonce"], row["instance_id"], row["witnessed"], row["preferred_successor"])

    async def await_fall(self, row: LeaderRow, wait_seconds: float) -> bool:
        """True once the witness of this leadership is gone; False if it is held after `wait_seconds`."""
        if row.nonce is None:
            return True
        key = self._key_of(row.nonce)
        wait_ms = max(1, int(min(wait_seconds, self._max_wait_seconds) * 1000))
        return bool(
            await self._call(
                lambda c: c.fetchval(f'SELECT "{self._schema}".await_witness($1, $2)', key, wait_ms),
                timeout_seconds=wait_ms / 1000 + self._call_timeout_seconds,
            )
        )

    async def seen(self) -> None:
        """A sign of life for people; left out where somebody has the table locked."""
        statement = self._sql(SEEN).replace("{instance}", self._me().instance_id.encode().hex())
        await self._call(lambda c: c.execute(statement))

    async def last_seen_seconds(self, instance_id: str) -> float | None:
        """How long ago a replica gave its last sign of life."""
        found = await self._call(lambda c: c.fetchval(self._sql(LAST_SEEN), instance_id))
        return None if found is None else float(found)

    async def claim(
        self, row: LeaderRow, nonce: str, *, reason: str, silent_seconds: float, proposed_term: int
    ) -> Leadership | None:
        """Move the leader's row from exactly `row` to a new term under `nonce`.

        Parameters: reason, why the former term ended; silent_seconds, for how long it had given no sign of
        life; proposed_term, the least number that the new term may have.
        Returns None if somebody else moved it. A lost reply is not an answer: the row is read again.
        """
        me = self._me()
        if not await self._take_witness(nonce):
            return None
        try:
            term = await self._move_row(
                CLAIM_TERM,
                proposed_term,
                nonce,
                me.instance_id,
                self._witnesses_work,
                row.term,
                row.nonce,
                reason,
                timedelta(seconds=max(0.0, silent_seconds)),
                me.host,
            )
        except Exception:
            if not self.is_open:
                raise
            now = await self.leader()
            term = now.term if now.nonce == nonce else None
        if term is None:
            await self._let_go()
            return None
        return Leadership(int(term), nonce, me.instance_id)

    async def confirm(self, leadership: Leadership) -> bool:
        """Whether the term still stands by the leader's row.

        Raises ServerUnreachableError also for a session that can only read.
        """
        row = await self._call(lambda c: c.fetchrow(self._sql(CONFIRM), leadership.term, leadership.nonce))
        if row["only_reads"]:
            raise ServerUnreachableError(
                f"Postgres at {server_name(self._url)} only lets this session read: it is a standby now, or read-only"
            )
        return bool(row["stands"])

    async def reclaim(self, leadership: Leadership, nonce: str) -> Leadership | None:
        """Sit down on the same term with a fresh witness, if nobody took it meanwhile."""
        if not await self._take_witness(nonce):
            return None
        term = await self._move_row(RECLAIM, leadership.term, leadership.nonce, nonce, self._witnesses_work)
        if term is None:
            await self._let_go()
            return None
        return Leadership(leadership.term, nonce, leadership.instance_id)

    async def resign(self, leadership: Leadership, reason: str, preferred_successor: str | None = None) -> None:
        """End the term and let the witness go: whoever waits for it leads next, the preferred successor first."""
        await self._move_row(RESIGN, leadership.term, leadership.nonce, reason, preferred_successor)
        await self._let_go()

    async def mark_running(self, running: Sequence[Outcome]) -> None:
        """Say of runs that were begun here that they were: nobody takes them from an owner that lives."""
        columns = (
            [outcome.run.run_id for outcome in running],
            [outcome.run.scheduled_for for outcome in running],
            [outcome.started_at for outcome in running],
            [outcome.attempt_started_at for outcome in running],
        )
        await self._call(lambda c: c.execute(self._sql(MARK_RUNNING), self._me().instance_id, *columns))

    async def depart(self) -> None:
        """Say that this replica ends, so that nobody waits for a sign of life."""
        await self._call(lambda c: c.execute(self._sql(DEPART), self._me().instance_id))

    async def _move_row(self, statement: str, *arguments: object) -> Any:
        """Run a statement that moves the leader's row, past a session that holds it and will not end.

        A replica that was stopped or cut off in the middle of a claim holds the row `FOR SHARE`, and the server may
        wait for the rest of its message for hours. Its transaction is ended: it belongs to a term that is over.
        """
        try:
            return await self._call(lambda c: c.fetchval(self._sql(statement), *arguments))
        except RowHeldError:
            pids = await self._call(
                lambda c: c.fetchval(self._sql(EVICT), timedelta(seconds=self._lock_timeout_seconds))
            )
            logger.warning("sessions %s held the leader's row and were ended", pids)
            return await self._call(lambda c: c.fetchval(self._sql(statement), *arguments))

    async def _take_witness(self, nonce: str) -> bool:
        """Hold a leadership's witness, where sessions can hold any; False if somebody else holds it."""
        if not self._witnesses_work:
            return True
        key = self._key_of(nonce)
        if not await self._call(lambda c: c.fetchval("SELECT pg_try_advisory_lock($1)", key)):
            return False
        self._leadership_key = key
        return True

    async def _let_go(self) -> None:
        key, self._leadership_key = self._leadership_key, None
        if key is not None:
            await self._call(lambda c: c.fetchval("SELECT pg_advisory_unlock($1)", key))

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        try:
            await connection.close(timeout=1.0)
        except DRIVER_ERRORS:
            # The socket is gone either way, and that is all that a close is for.
            connection.terminate()

    def abandon(self) -> None:
        """In a forked child: let go of the inherited socket, or the witness outlives its process."""
        if self._connection is not None:
            let_go_of(self._connection)

    async def _call(
        self,
        call: Callable[[asyncpg.Connection[Any]], Awaitable[T]],
        *,
        timeout_seconds: float | None = None,
    ) -> T:
        connection = self._connection
        if connection is None or connection.is_closed():
            raise explain(ConnectionError("the control session is closed"), self._url, self._schema)
        limit = timeout_seconds or self._call_timeout_seconds
        try:
            async with asyncio.timeout(limit), self._busy:
                return await call(connection)
        except asyncpg.LockNotAvailableError as error:
            raise RowHeldError("another session holds the leader's row: it is ended") from error
        except DRIVER_ERRORS as error:
            if condition_of_error(error).ends_session:
                # After a time-out nobody knows what the session is doing; and a reader's takes no leader's word.
                connection.terminate()
            raise explain(error, self._url, self._schema) from error

    def _me(self) -> Instance:
        assert self._instance is not None
        return self._instance

    def _key_of(self, nonce: str) -> int:
        return advisory_key("leadership", self._schema, nonce)

    def _sql(self, template: str) -> str:
        return fill(template, self._schema)

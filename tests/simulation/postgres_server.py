"""Postgres as an election sees it: the leader's row, its terms, advisory locks of sessions, restarts, a standby.

Each statement of `storage.fire.term_statements` and `storage.fire.control_session` is one step that is told here a
second time, in Python; one that waits for a lock is several. A statement that is not known fails the simulation.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import asyncpg

from scheduler_core.storage.fire import term_statements as statements
from scheduler_core.storage.fire.control_session import PostgresControlSession
from scheduler_core.storage.postgres.keys import LEASE_NAME
from scheduler_core.storage.postgres.placeholders import fill

from .machine import EPOCH
from .network import Link
from .timeline import Timeline

SCHEMA = "scheduler"

CONTESTED_LOOK_SECONDS = 0.01
NOTICES_DEATH_SECONDS = (0.001, 0.03)
"""Within what the server sees that a client's process has died: measured, while it waits for a lock too."""

STANDBY_UP_SECONDS = 5000.0
"""For how long a standby has been running when it is promoted."""

Reply = Callable[[Any], None]


class Watcher(Protocol):
    """Who looks on as the leader's row moves: by `Timeline.now`, at the server."""

    def claimed(self, term: int, nonce: str, instance_id: str, *, deposes_living: bool) -> None:
        """The row was moved to this term; `deposes_living`: from one whose witness was held."""

    def stands(self, term: int, nonce: str) -> None:
        """A session was told that this term stands."""

    def ended(self, term: int) -> None: ...

    def resigned(self, term: int) -> None:
        """Its leader has freed the seat."""


class Nobody:
    """Looks on at nothing."""

    def claimed(self, term: int, nonce: str, instance_id: str, *, deposes_living: bool) -> None: ...

    def stands(self, term: int, nonce: str) -> None: ...

    def ended(self, term: int) -> None: ...

    def resigned(self, term: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Row:
    """The leader's."""

    term: int = 0
    nonce: str | None = None
    instance_id: str | None = None
    witnessed: bool = False
    preferred_successor: str | None = None
    control_pid: int | None = None


@dataclass(slots=True, eq=False)
class Backend:
    """The server's side of one session."""

    pid: int
    owner: str
    ended: Callable[[str], None]
    """Tells the client that the session is over, and by which SQLSTATE."""
    is_alive: bool = True
    is_busy: bool = False
    idle_since: float = 0.0
    idle_limit_seconds: float | None = None
    lock_timeout_seconds: float | None = None
    locks: dict[int, int] = field(default_factory=dict)


class PostgresServer:
    """See the module."""

    def __init__(self, timeline: Timeline, watcher: Watcher | None = None) -> None:
        self.timeline = timeline
        self.watcher: Watcher = watcher or Nobody()
        self.row = Row()
        self.terms: dict[int, datetime | None] = {}
        """When each ended."""
        self.last_seen: dict[str, float] = {}
        self.is_up = True
        self.only_reads = False
        self.started_at = timeline.now - STANDBY_UP_SECONDS
        self.row_held_until = 0.0
        """Until then a transaction of somebody who is stopped holds the leader's row."""
        self._row_held_since = 0.0
        self._backends: list[Backend] = []
        self._holders: dict[int, Backend] = {}
        self._sharers: dict[int, list[Callable[[], None]]] = {}
        self._row_waiters: list[Callable[[], None]] = []
        self._next_pid = 1000
        self._past: deque[tuple[float, Row, dict[int, datetime | None]]] = deque(maxlen=200)
        self._by_text: dict[str, Callable[..., Any]] = {
            fill(template, SCHEMA): handler
            for template, handler in {
                statements.LEADER: self._leader,
                statements.CLAIM_TERM: self._claim,
                statements.RECLAIM: self._reclaim,
                statements.CONFIRM: self._confirm,
                statements.RESIGN: self._resign,
                statements.REGISTER: self._register,
                statements.LAST_SEEN: self._last_seen,
                statements.EVICT: self._evict,
                statements.DEPART: lambda backend, *_: None,
                statements.FORGET_OLD: lambda backend, *_: None,
                statements.MARK_RUNNING: lambda backend, *_: None,
                LEASE_NAME: self._lease_name,
                "SELECT pg_backend_pid()": lambda backend: {"pid": backend.pid},
                "SELECT pg_try_advisory_lock($1)": self._try_lock,
                "SELECT pg_advisory_unlock($1)": self._unlock,
                "SELECT setting::int FROM pg_settings WHERE name = 'deadlock_timeout'": lambda backend: {"ms": 1000},
                "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8": self._uptime,
            }.items()
        }
        self._moves_row = {fill(t, SCHEMA) for t in (statements.CLAIM_TERM, statements.RECLAIM, statements.RESIGN)}

    # Sessions.

    def connect(self, owner: str, ended: Callable[[str], None]) -> Backend:
        self._next_pid += 1
        backend = Backend(self._next_pid, owner, ended, idle_since=self.timeline.now)
        self._backends.append(backend)
        return backend

    def end(self, backend: Backend, sqlstate: str | None = None) -> None:
        """End a session; `sqlstate` None: its client is gone, and told nothing."""
        if not backend.is_alive:
            return
        backend.is_alive = False
        self._backends.remove(backend)
        for key in list(backend.locks):
            self._free(key)
        if sqlstate is not None:
            backend.ended(sqlstate)

    def end_all_of(self, owner: str, sqlstate: str | None) -> None:
        for backend in [backend for backend in self._backends if backend.owner == owner]:
            self.end(backend, sqlstate)

    def client_died(self, owner: str) -> None:
        """The kernel has closed the sockets of a process that was killed."""
        for backend in [backend for backend in self._backends if backend.owner == owner]:
            self.timeline.after(self.timeline.random.uniform(*NOTICES_DEATH_SECONDS), lambda b=backend: self.end(b))

    def _watch_idle(self, backend: Backend) -> None:
        if not backend.is_alive or backend.idle_limit_seconds is None:
            return
        rest = backend.idle_since + backend.idle_limit_seconds - self.timeline.now
        if not backend.is_busy and rest <= 1e-9:
            self.end(backend, "57P05")
        else:
            self.timeline.after(rest if rest > 1e-9 else 0.01, lambda: self._watch_idle(backend))

    # The whole server.

    def crash(self) -> None:
        """The process and with it all sessions are gone; what was committed is not."""
        self.is_up = False
        for backend in list(self._backends):
            self.end(backend, "57P01")
        self.row_held_until = 0.0

    def start(self) -> None:
        self.is_up, self.started_at = True, self.timeline.now

    def promote_standby(self, lag_seconds: float) -> list[int]:
        """Another server takes over, which has not seen what was committed lately; returns the terms that it lacks."""
        self.crash()
        since = self.timeline.now - lag_seconds
        before = dict(self.terms)
        older = [(row, terms) for at, row, terms in self._past if at <= since]
        self.row, terms = older[-1] if older else (Row(), {})
        self.terms = dict(terms)
        self.is_up, self.only_reads, self.started_at = True, False, self.timeline.now - STANDBY_UP_SECONDS
        self._commit()
        return sorted(before.keys() - self.terms.keys())

    def hold_row(self, seconds: float) -> None:
        """As a replica does that was stopped in the middle of a claim."""
        self._row_held_since, self.row_held_until = self.timeline.now, self.timeline.now + seconds
        self.timeline.after(seconds, self._row_is_free)

    def _row_is_free(self) -> None:
        waiters, self._row_waiters = self._row_waiters, []
        for waiter in waiters:
            waiter()

    def _commit(self) -> None:
        self._past.append((self.timeline.now, self.row, dict(self.terms)))

    # Statements.

    def execute(self, backend: Backend, sql: str, arguments: tuple[Any, ...], reply: Reply) -> None:
        """Run one statement; `reply` gets a row as a mapping, None, or an error."""
        if not backend.is_alive:
            return
        backend.is_busy = True

        def done(answer: Any) -> None:
            backend.is_busy, backend.idle_since = False, self.timeline.now
            if backend.is_alive:
                reply(answer)

        if sql in self._moves_row:
            self._move_row(backend, sql, arguments, done)
        elif "await_witness" in sql:
            key, wait_seconds = arguments[0], arguments[1] / 1000
            self._await_witness(backend, key, wait_seconds, done, deadline=self.timeline.now + wait_seconds)
        else:
            done(self._answer(backend, sql, arguments))

    def _answer(self, backend: Backend, sql: str, arguments: tuple[Any, ...]) -> Any:
        if (handler := self._by_text.get(sql)) is not None:
            return handler(backend, *arguments)
        if sql.lstrip().startswith("DO $$"):
            return self._seen(sql)
        if sql.startswith("SELECT set_config("):
            return self._settle(backend, sql)
        self.timeline.failed(f"the simulated Postgres does not know this statement: {sql}")
        return None

    def _settle(self, backend: Backend, sql: str) -> None:
        given = dict(re.findall(r"set_config\('(\w+)', '(\w+)', false\)", sql))
        backend.idle_limit_seconds = int(given["idle_session_timeout"]) / 1000
        backend.lock_timeout_seconds = int(given["lock_timeout"]) / 1000
        self._watch_idle(backend)

    def _move_row(self, backend: Backend, sql: str, arguments: tuple[Any, ...], done: Reply) -> None:
        if self.only_reads:
            done(asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE in a read-only transaction"))
            return
        if self.row_held_until <= self.timeline.now:
            done(self._answer(backend, sql, arguments))
            return
        answered: list[bool] = []

        def answer(what: Callable[[], Any]) -> None:
            if not answered and backend.is_alive:
                answered.append(True)
                done(what())

        self._row_waiters.append(lambda: answer(lambda: self._answer(backend, sql, arguments)))
        if backend.lock_timeout_seconds is not None:
            refused = asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
            self.timeline.after(backend.lock_timeout_seconds, lambda: answer(lambda: refused))

    def _leader(self, backend: Backend) -> dict[str, Any]:
        row = self.row
        return {
            "term": row.term,
            "nonce": row.nonce,
            "instance_id": row.instance_id,
            "witnessed": row.witnessed,
            "preferred_successor": row.preferred_successor,
        }

    def _claim(
        self,
        backend: Backend,
        proposed: int,
        nonce: str,
        instance_id: str,
        witnessed: bool,
        term: int,
        read_nonce: str | None,
        reason: str,
        silent: timedelta,
        host: str,
    ) -> dict[str, Any] | None:
        if (self.row.term, self.row.nonce) != (term, read_nonce):
            return None
        living = self.row.control_pid
        deposes_living = living is not None and any(backend.pid == living for backend in self._backends)
        new = max(self.row.term + 1, proposed, max(self.terms, default=0) + 1 if self.terms else 0)
        self.row = Row(new, nonce, instance_id, witnessed, None, backend.pid if witnessed else None)
        if self.terms.get(term, self._clock()) is None:
            self.terms[term] = self._clock() - silent
        self.terms[new] = None
        self._commit()
        self.watcher.ended(term)
        self.watcher.claimed(new, nonce, instance_id, deposes_living=deposes_living)
        return {"term": new}

    def _reclaim(
        self, backend: Backend, term: int, nonce: str, fresh_nonce: str, witnessed: bool
    ) -> dict[str, Any] | None:
        if self.row.term != term or self.row.nonce not in (nonce, fresh_nonce):
            return None
        pid = backend.pid if witnessed else None
        self.row = replace(self.row, nonce=fresh_nonce, witnessed=witnessed, control_pid=pid)
        self._commit()
        self.watcher.stands(term, fresh_nonce)
        return {"term": term}

    def _confirm(self, backend: Backend, term: int, nonce: str) -> dict[str, Any]:
        stands = (self.row.term, self.row.nonce) == (term, nonce)
        if stands and not self.only_reads:
            self.watcher.stands(term, nonce)
        return {"stands": stands, "only_reads": self.only_reads}

    def _resign(
        self, backend: Backend, term: int, nonce: str, reason: str, preferred_successor: str | None
    ) -> dict[str, Any] | None:
        if (self.row.term, self.row.nonce) != (term, nonce):
            return None
        self.row = replace(
            self.row, nonce=None, witnessed=False, preferred_successor=preferred_successor, control_pid=None
        )
        if self.terms.get(term, self._clock()) is None:
            self.terms[term] = self._clock()
        self._commit()
        self.watcher.ended(term)
        self.watcher.resigned(term)
        return None

    def _register(self, backend: Backend, instance_id: str, *_: Any) -> Any:
        if self.only_reads:
            return asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction")
        self.last_seen[instance_id] = self.timeline.now
        return {"started_at": self._clock()}

    def _seen(self, sql: str) -> Any:
        if self.only_reads:
            return asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE in a read-only transaction")
        found = re.search(r"decode\('([0-9a-f]*)', 'hex'\)", sql)
        assert found is not None
        self.last_seen[bytes.fromhex(found[1]).decode()] = self.timeline.now
        return None

    def _last_seen(self, backend: Backend, instance_id: str) -> dict[str, float] | None:
        at = self.last_seen.get(instance_id)
        return None if at is None else {"seconds": self.timeline.now - at}

    def _evict(self, backend: Backend, older_than: timedelta) -> dict[str, Any]:
        held_for = self.timeline.now - self._row_held_since
        if self.row_held_until <= self.timeline.now or held_for <= older_than.total_seconds():
            return {"pids": None}
        self.row_held_until = 0.0
        self._row_is_free()
        return {"pids": [1]}

    def _lease_name(self, backend: Backend) -> dict[str, Any]:
        started = EPOCH + timedelta(seconds=self.started_at)
        return {"system_identifier": 1, "database": "d", "installation": "i", "server_started_at": started}

    def _uptime(self, backend: Backend) -> dict[str, float]:
        return {"seconds": self.timeline.now - self.started_at}

    def _clock(self) -> datetime:
        return EPOCH + timedelta(seconds=self.timeline.now)

    # Advisory locks.

    def _try_lock(self, backend: Backend, key: int) -> dict[str, bool]:
        if self._holders.setdefault(key, backend) is not backend:
            return {"locked": False}
        backend.locks[key] = backend.locks.get(key, 0) + 1
        return {"locked": True}

    def _unlock(self, backend: Backend, key: int) -> dict[str, bool]:
        if key not in backend.locks:
            return {"unlocked": False}
        backend.locks[key] -= 1
        if not backend.locks[key]:
            del backend.locks[key]
            self._free(key)
        return {"unlocked": True}

    def _free(self, key: int) -> None:
        del self._holders[key]
        for fell in self._sharers.pop(key, []):
            fell()

    def _await_witness(self, backend: Backend, key: int, wait_seconds: float, done: Reply, *, deadline: float) -> None:
        registered, holder = self.row.control_pid, self._holders.get(key)
        if holder is None or holder.pid != (registered or holder.pid):
            done({"fell": True})
            return
        if self.timeline.now >= deadline:
            done({"fell": False})
            return
        if holder is backend:  # nobody waits for himself: it has the lock at once
            done({"fell": True})
            return
        answered: list[bool] = []

        def fell() -> None:
            if not answered:
                answered.append(True)
                done({"fell": True})

        def over() -> None:
            if not answered:
                answered.append(True)
                self._await_witness(backend, key, wait_seconds, done, deadline=self.timeline.now)

        self._sharers.setdefault(key, []).append(fell)
        self.timeline.after(wait_seconds, over)


class Transaction:
    """The client's `async with connection.transaction()`: of those that only read, nothing is to be seen."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


class Connection:
    """The client's side of one session: as much of `asyncpg.Connection` as the control session uses.

    Parameters: command_timeout_seconds, for each statement. To be made by `open_connection`.
    """

    def __init__(self, server: PostgresServer, link: Link, owner: str, command_timeout_seconds: float) -> None:
        self._server = server
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._command_timeout_seconds = command_timeout_seconds
        self._closed = False
        self._waiters: list[asyncio.Future[Any]] = []
        self._listeners: list[Callable[[Any], None]] = []
        self.backend = server.connect(owner, self._ended_by_server)

    def get_server_pid(self) -> int:
        return self.backend.pid

    def is_closed(self) -> bool:
        return self._closed

    def add_termination_listener(self, listener: Callable[[Any], None]) -> None:
        self._listeners.append(listener)

    async def add_listener(self, channel: str, listener: Any) -> None:
        """Nobody notifies."""

    def transaction(self) -> Transaction:
        return Transaction()

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        row = await self.fetchrow(sql, *arguments)
        return None if row is None else next(iter(row.values()))

    async def execute(self, sql: str, *arguments: Any) -> None:
        await self.fetchrow(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> Any:
        if self._closed:
            raise asyncpg.InterfaceError("connection is closed")
        if self._link.is_over:
            raise ConnectionResetError("the simulation is over")
        waiter = self._loop.create_future()

        def told(answer: Any) -> None:
            if not waiter.done():
                waiter.set_result(answer)

        def answered(answer: Any) -> None:
            if self._link.breaks():
                self._reset()
            else:
                self._link.down.send(lambda: self._post(told, answer))

        self._waiters.append(waiter)
        try:
            if self._link.breaks():
                self._reset()
            else:
                self._link.up.send(lambda: self._server.execute(self.backend, sql, arguments, answered))
            async with asyncio.timeout(self._command_timeout_seconds):
                answer = await waiter
        finally:
            self._waiters.remove(waiter)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _reset(self) -> None:
        """The network breaks the connection: both ends learn of that, each in its time."""
        self._link.up.send(lambda: self._server.end(self.backend))
        self._link.down.send(lambda: self._post(self._lost, "08006"))

    def _ended_by_server(self, sqlstate: str) -> None:
        self._link.down.send(lambda: self._post(self._lost, sqlstate))

    def _post(self, step: Callable[..., Any], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(step, *arguments)

    def _lost(self, sqlstate: str) -> None:
        if self._closed:
            return
        self._close()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(asyncpg.ConnectionDoesNotExistError(f"connection was closed ({sqlstate})"))

    def _close(self) -> None:
        self._closed = True
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            self._loop.call_soon(listener, self)

    def terminate(self) -> None:
        if self._closed:
            return
        self._close()
        self._link.up.send(lambda: self._server.end(self.backend))

    async def close(self, *, timeout: float) -> None:
        self.terminate()


async def open_connection(
    server: Any, link: Link, owner: str, timeout_seconds: float, make: Callable[..., Any] = Connection
) -> Any:
    """A session: `make` is the class of its client's side. Raises TimeoutError, ConnectionRefusedError."""
    if link.is_over:
        raise ConnectionResetError("the simulation is over")
    loop = asyncio.get_running_loop()
    greeted = loop.create_future()

    def answer() -> None:
        is_up = server.is_up
        link.down.send(
            lambda: loop.is_closed() or loop.call_soon_threadsafe(lambda: greeted.done() or greeted.set_result(is_up))
        )

    link.up.send(answer)
    async with asyncio.timeout(timeout_seconds):
        if not await greeted or not server.is_up:
            raise ConnectionRefusedError("nobody listens there")
    return make(server, link, owner, timeout_seconds)


class SimulatedSession(PostgresControlSession):
    """The real control session, over a simulated connection."""

    def __init__(self, server: PostgresServer, link: Link, owner: str, *, ttl_seconds: float) -> None:
        super().__init__("postgresql://postgres@simulated/d", SCHEMA, ttl_seconds=ttl_seconds)
        self._server, self._link, self._owner = server, link, owner

    async def _connect(self, application_name: str) -> Any:
        return await open_connection(self._server, self._link, self._owner, timeout_seconds=3.0)

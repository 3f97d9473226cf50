"""A real Postgres that takes a step when the timeline says so, and tells the time that the timeline says.

A statement is sent at the virtual instant at which it arrives; what it changes is committed at a later one, and until
then its transaction holds its locks. So two statements overlap as they do on a server under load, and who waits for
whom is asked of Postgres (`pg_blocking_pids`): no wall time decides. Four statements are told a second time here,
because they go by the server's own timers or by its sessions: the settings of a control session, the sign of life, the
wait for a witness and the eviction of whoever holds the leader's row.
"""

from __future__ import annotations

import asyncio
import re
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any, TypeVar

import asyncpg

from scheduler_core.storage.fire import runs, takeovers, term_statements
from scheduler_core.storage.fire.runs import HOT_PATH_SETTINGS
from scheduler_core.storage.postgres.database import Row, _decode_json
from scheduler_core.storage.postgres.keys import NUDGE_CHANNEL
from scheduler_core.storage.postgres.placeholders import fill

from ..checks import Checks
from ..machine import EPOCH
from ..postgres_server import NOTICES_DEATH_SECONDS, SCHEMA, Reply
from ..timeline import Timeline

QUICK_SECONDS = (50e-6, 800e-6)
"""From a statement's snapshot to its commit."""

LOCK_TIMEOUT_SECONDS = 10.0
"""As the product sets it for the sessions of its pool."""

SIGN_OF_LIFE_WAITS_SECONDS = 0.02
DEADLOCK_TIMEOUT_MS = 1000

WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|TRUNCATE|FOR SHARE|FOR UPDATE|pg_notify)\b")

WITNESS_HELD = f"""
SELECT coalesce(bool_or(granted AND pid = coalesce((SELECT control_pid FROM {SCHEMA}.leader), pid)), false) AS is_held
FROM pg_locks
WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid = (($1::bigint >> 32) & 4294967295)::oid AND objid = ($1::bigint & 4294967295)::oid
"""

SEEN = f"UPDATE {SCHEMA}.instances SET last_seen = clock_timestamp() WHERE instance_id = $1"

HOLDERS_OF_LEADER = f"""
SELECT DISTINCT pid FROM pg_locks
WHERE relation = CAST('{SCHEMA}.leader' AS regclass) AND granted AND mode <> 'AccessShareLock' AND pid <> $1
"""

LIVING = f"""
SELECT instance_id FROM {SCHEMA}.instances
WHERE instance_id = ANY($1::text[]) AND life_key IS NOT NULL AND EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND objsubid = 1 AND pid = control_pid
      AND classid = ((life_key >> 32) & 4294967295)::oid AND objid = (life_key & 4294967295)::oid)
"""

LOST_SINCE = f"""
SELECT job_id, instance_id FROM {SCHEMA}.attempts
WHERE outcome = 'lost' AND instance_id = ANY($1::text[]) AND finished_at >= $2
"""

OWNERS_OF = f"""
SELECT job_id, scheduled_for, instance_id FROM {SCHEMA}.runs
WHERE run_id = ANY($1::uuid[]) AND status IN ('succeeded', 'failed', 'skipped') AND instance_id IS NOT NULL
"""

# Ahead of pg_catalog in search_path, and so what an unqualified name means: a sequence is outside of all transactions,
# so that everybody reads the same time, also whoever has waited for a lock.
VIRTUAL_TIME = r"""
CREATE SCHEMA IF NOT EXISTS sim;
CREATE SEQUENCE IF NOT EXISTS sim.clock MINVALUE -1000000000000000;
CREATE SEQUENCE IF NOT EXISTS sim.started MINVALUE -1000000000000000;
SELECT setval('sim.clock', 1), setval('sim.started', 1);
CREATE OR REPLACE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT to_timestamp(pg_sequence_last_value('sim.clock') / 1e6) $$;
CREATE OR REPLACE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT to_timestamp(pg_sequence_last_value('sim.clock') / 1e6) $$;
CREATE OR REPLACE FUNCTION sim.statement_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT to_timestamp(pg_sequence_last_value('sim.clock') / 1e6) $$;
CREATE OR REPLACE FUNCTION sim.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT to_timestamp(pg_sequence_last_value('sim.started') / 1e6) $$;
DO $$
DECLARE
    of_table record;
BEGIN
    -- What a column is given by default was bound to the server's own clock when its table was made.
    FOR of_table IN
        SELECT d.adrelid::regclass AS name, a.attname, pg_get_expr(d.adbin, d.adrelid) AS given
        FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE pg_get_expr(d.adbin, d.adrelid) LIKE '%clock_timestamp()%'
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', of_table.name, of_table.attname,
                       regexp_replace(of_table.given, '(pg_catalog\.)?clock_timestamp\(\)', 'sim.clock_timestamp()',
                                      'g'));
    END LOOP;
    -- Between two worlds everything is truncated, the logs as well.
    FOR of_table IN
        SELECT tgrelid::regclass AS name, tgname FROM pg_trigger WHERE tgtype & 32 <> 0 AND NOT tgisinternal
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', of_table.name, of_table.tgname);
    END LOOP;
END
$$;
"""

EMPTY = f"""
SET session_replication_role = replica;
DO $$
BEGIN
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(format('{SCHEMA}.%I', relname), ', ')
             FROM pg_class c WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind IN ('r', 'p')
               AND NOT relispartition AND relname NOT IN ('alembic_version', 'table_families')) || ' RESTART IDENTITY';
END
$$;
INSERT INTO {SCHEMA}.leader (term) VALUES (0);
SET session_replication_role = origin;
"""

T = TypeVar("T")


class RealPostgres:
    """The server that worlds play on, one after another, and the sessions that they share.

    Parameters: url, of a database whose schema is at head and whose history has the days around `EPOCH`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.loop = asyncio.new_event_loop()
        self._idle: list[asyncpg.Connection[Any]] = []
        self._heard: dict[int, list[str]] = {}
        self.observer = self.wait(self._open())
        self.execute(VIRTUAL_TIME)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it now, whichever virtual loop is in the middle of a step."""
        outer = events._get_running_loop()
        events._set_running_loop(None)
        try:
            return self.loop.run_until_complete(work)
        finally:
            events._set_running_loop(outer)

    async def _open(self) -> asyncpg.Connection[Any]:
        settings = {**HOT_PATH_SETTINGS, "search_path": "sim, pg_catalog, public", "deadlock_timeout": "10min"}
        connection = await asyncpg.connect(self._url, server_settings={**settings, "timezone": "UTC"})
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(kind, encoder=str, decoder=_decode_json, schema="pg_catalog")
        heard = self._heard.setdefault(connection.get_server_pid(), [])

        def hear(_connection: Any, pid: int, _channel: str, payload: object) -> None:
            # A session hears what it has notified itself before it is told of its commit; others hear it later, at
            # an instant that nobody chooses.
            if pid == connection.get_server_pid():
                heard.append(str(payload))

        await connection.add_listener(NUDGE_CHANNEL, hear)
        return connection

    def notified(self, connection: asyncpg.Connection[Any]) -> list[str]:
        """What this session has just notified."""
        self.wait(asyncio.sleep(0))
        heard = self._heard[connection.get_server_pid()]
        said, heard[:] = list(heard), []
        return said

    def take(self) -> asyncpg.Connection[Any]:
        return self._idle.pop() if self._idle else self.wait(self._open())

    def give_back(self, connection: asyncpg.Connection[Any]) -> None:
        """Of a session nothing is left but its prepared statements."""
        self.wait(connection.execute("SELECT pg_advisory_unlock_all()"))
        self._idle.append(connection)

    def execute(self, statements: str) -> None:
        self.wait(self.observer.execute(statements))

    def fetch(self, statement: str, *arguments: Any) -> Sequence[Any]:
        rows: Sequence[Any] = self.wait(self.observer.fetch(statement, *arguments, record_class=Row))
        return rows

    def empty(self) -> None:
        """As after the migrations."""
        self.execute(EMPTY)

    def close(self) -> None:
        for connection in (*self._idle, self.observer):
            self.wait(connection.close())
        self.loop.close()


@dataclass(slots=True, eq=False)
class Statement:
    """One that was sent, until it is answered."""

    session: Session
    sql: str
    arguments: tuple[Any, ...]
    reply: Reply
    lock_timeout_seconds: float
    task: asyncio.Task[Any] | None = None
    is_blocked: bool = False
    is_executed: bool = False
    is_over: bool = False
    waits_since: float | None = None
    sent_at: float = 0.0
    living: Sequence[str] = ()
    """Of the owners that it takes for dead, those whose witness was held as it was sent."""


@dataclass(slots=True, eq=False)
class Session:
    """The server's side of one."""

    pid: int
    owner: str
    ended: Callable[[str], None]
    real: asyncpg.Connection[Any]
    number: int
    statement: Statement | None = None
    waiting: deque[Callable[[], None]] = field(default_factory=deque)
    is_alive: bool = True
    is_let_go: bool = False
    idle_since: float = 0.0
    idle_limit_seconds: float | None = None
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
    heard: Callable[[str], None] | None = None
    """Told what was notified, where the client listens."""


class SteppedPostgres:
    """See the module."""

    def __init__(self, timeline: Timeline, real: RealPostgres, checks: Checks) -> None:
        self.timeline = timeline
        self.real = real
        self.checks = checks
        self.is_up = True
        self.only_reads = False
        self.ahead_seconds = 0.0
        """Of the server's clock, against the timeline."""
        self.slow_until = 0.0
        self.slow_seconds = QUICK_SECONDS
        self.statements = 0
        self.term = (0, None)
        """As it was committed last."""
        self._sessions: list[Session] = []
        self._ever: list[Session] = []
        self._running: list[Statement] = []
        self._witness_waiters: list[Callable[[], None]] = []
        self._opened = 0
        self._names = {text: name for name, text in _statements().items()}
        real.empty()
        self._start_clock()

    def now(self) -> datetime:
        """By the server's clock."""
        return EPOCH + timedelta(seconds=self.timeline.now + self.ahead_seconds)

    def _microseconds(self) -> int:
        return int((EPOCH.timestamp() + self.timeline.now + self.ahead_seconds) * 1e6)

    def _start_clock(self) -> None:
        self.real.execute(f"SELECT setval('sim.started', {self._microseconds() - 3600 * 10**6})")

    # Sessions.

    def connect(self, owner: str, ended: Callable[[str], None]) -> Session:
        real = self.real.take()
        self._opened += 1
        session = Session(real.get_server_pid(), owner, ended, real, self._opened, idle_since=self.timeline.now)
        self._sessions.append(session)
        self._ever.append(session)
        return session

    def end(self, session: Session, sqlstate: str | None = None) -> None:
        """End a session; `sqlstate` None: its client is gone, and what it sent may be executed all the same."""
        if not session.is_alive:
            return
        session.is_alive = False
        self._sessions.remove(session)
        session.waiting.clear()
        statement = session.statement
        if statement is None:
            self._let_go(session)
        elif sqlstate is not None or self.timeline.random.random() < 0.3:
            self._abort(statement)
            self._let_go(session)
        if sqlstate is not None:
            session.ended(sqlstate)

    def _let_go(self, session: Session) -> None:
        """Once only, whoever comes first: its client, the server's crash, or the statement that it was at."""
        if session.is_let_go:
            return
        session.is_let_go = True
        self.real.give_back(session.real)
        self._look_at_witnesses()
        self._settle()

    def end_all_of(self, owner: str, sqlstate: str | None) -> None:
        for session in [session for session in self._sessions if session.owner == owner]:
            self.end(session, sqlstate)

    def end_some_of(self, owner: str, sqlstate: str) -> None:
        """One session, of those that are at something if there are any."""
        of_it = [session for session in self._sessions if session.owner == owner]
        busy = [session for session in of_it if session.statement is not None]
        if of_it:
            self.end(self.timeline.random.choice(busy or of_it), sqlstate)

    def client_died(self, owner: str) -> None:
        """The kernel has closed the sockets of a process that was killed."""
        for session in [session for session in self._sessions if session.owner == owner]:
            self.timeline.after(self.timeline.random.uniform(*NOTICES_DEATH_SECONDS), lambda s=session: self.end(s))

    def _watch_idle(self, session: Session) -> None:
        if not session.is_alive or session.idle_limit_seconds is None:
            return
        rest = session.idle_since + session.idle_limit_seconds - self.timeline.now
        if session.statement is None and rest <= 1e-9:
            self.end(session, "57P05")
        else:
            self.timeline.after(rest if rest > 1e-9 else 0.01, lambda: self._watch_idle(session))

    def crash(self) -> None:
        """The process and with it all sessions are gone, and what was not committed."""
        self.is_up = False
        for statement in list(self._running):
            self._abort(statement)
            if not statement.session.is_alive:
                self._let_go(statement.session)
        for session in list(self._sessions):
            self.end(session, "57P01")

    def start(self) -> None:
        self.is_up = True
        self.real.execute(f"SELECT setval('sim.started', {self._microseconds()})")

    def dispose(self) -> None:
        """The world is over: whoever plays on this server next finds its sessions idle."""
        self._witness_waiters.clear()
        for statement in list(self._running):
            self._abort(statement)
        for session in self._ever:
            session.is_alive = False
            self._let_go(session)

    # Statements.

    def execute(self, session: Session, sql: str, arguments: tuple[Any, ...], reply: Reply) -> None:
        """Run one statement; `reply` gets its rows or an error."""
        if not session.is_alive:
            return
        if session.statement is not None:
            session.waiting.append(lambda: self.execute(session, sql, arguments, reply))
            return
        statement = Statement(session, sql, arguments, reply, session.lock_timeout_seconds)
        session.statement = statement
        if "await_witness" in sql:
            deadline = self.timeline.now + arguments[1] / 1000
            self._await_witness(statement, deadline)
        elif sql.startswith("SELECT set_config("):
            self._settle_session(session, sql)
            self._later(statement, [])
        elif "deadlock_timeout" in sql:
            self._later(statement, [{"ms": DEADLOCK_TIMEOUT_MS}])
        elif "pg_terminate_backend" in sql:
            self._later(statement, [{"pids": self._evict(session, arguments[0])}])
        else:
            if sql.lstrip().startswith("DO $$"):
                found = re.search(r"decode\('([0-9a-f]*)', 'hex'\)", sql)
                assert found is not None
                statement.sql, statement.arguments = SEEN, (bytes.fromhex(found[1]).decode(),)
                statement.lock_timeout_seconds = SIGN_OF_LIFE_WAITS_SECONDS
            self._send(statement)

    def cancel(self, session: Session) -> None:
        """The client asks that what the session is at be given up: it may be too late for that."""
        statement = session.statement
        if session.is_alive and statement is not None and self.timeline.random.random() < 0.5:
            self._abort(statement)
            self._answer(statement, asyncpg.QueryCanceledError("canceling statement due to user request"))

    def _send(self, statement: Statement) -> None:
        self.statements += 1
        session, real = statement.session, self.real
        statement.sent_at = self.timeline.now
        clock = f"SELECT setval('sim.clock', {self._microseconds()})"
        if WRITES.search(statement.sql) is None and "pg_try_advisory_lock" not in statement.sql:
            begin = "; BEGIN READ ONLY" if self.only_reads else ""
            real.wait(session.real.execute(clock + begin))
            try:
                answer: Any = real.wait(session.real.fetch(statement.sql, *statement.arguments, record_class=Row))
            except asyncpg.PostgresError as error:
                answer = error
            if begin:
                real.wait(session.real.execute("ROLLBACK"))
            if "pg_advisory_unlock" in statement.sql:
                self._look_at_witnesses()
            self._seen_at_snapshot(statement, answer)
            self._later(statement, answer)
            return
        if self.only_reads:
            self._later(
                statement, asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE in a read-only transaction")
            )
            return
        real.wait(session.real.execute(clock + "; BEGIN"))
        if self._name(statement) == "REAP":
            dead = statement.arguments[_parameters(runs.REAP)["dead"]]
            statement.living = [row.instance_id for row in real.fetch(LIVING, dead)]
        statement.task = real.loop.create_task(
            session.real.fetch(statement.sql, *statement.arguments, record_class=Row)
        )
        self._running.append(statement)
        self._settle()

    def _settle(self) -> None:
        """Until each that was sent has been executed, or waits for a transaction that is open."""
        real = self.real
        while True:
            for statement in [s for s in self._running if not s.is_executed and s.task is not None and s.task.done()]:
                self._executed(statement)
            pending = [s for s in self._running if not s.is_executed]
            if all(statement.is_blocked for statement in pending):
                return
            done, _ = real.wait(
                asyncio.wait(
                    {s.task for s in pending if s.task is not None}, timeout=0.002, return_when=asyncio.FIRST_COMPLETED
                )
            )
            if not done:
                self._look_who_waits(pending)

    def _look_who_waits(self, pending: Sequence[Statement]) -> None:
        by_pid = {statement.session.pid: statement for statement in pending}
        asked = "SELECT pid, pg_blocking_pids(pid) AS blockers FROM unnest($1::int[]) AS pid"
        blockers = {row.pid: set(row.blockers) for row in self.real.fetch(asked, list(by_pid))}
        blocked: set[int] = set()
        while True:
            more = {pid for pid, of_it in blockers.items() if pid not in blocked and of_it - (by_pid.keys() - blocked)}
            if not more:
                break
            blocked |= more
        if not blocked and all(blockers.values()):
            names = sorted(self._name(statement) for statement in pending)
            self.checks.fail(f"deadlock among {names}")
            for statement in pending:
                self._abort(statement)
                self._answer(statement, asyncpg.DeadlockDetectedError("deadlock detected"))
            return
        for pid in sorted(blocked, key=lambda pid: by_pid[pid].session.number):
            statement = by_pid[pid]
            statement.is_blocked = True
            if statement.waits_since is None:
                statement.waits_since = self.timeline.now
                self.checks.say(f"{statement.session.owner} waits: {self._name(statement)}")
                self.timeline.after(statement.lock_timeout_seconds, lambda s=statement: self._lock_times_out(s))

    def _lock_times_out(self, statement: Statement) -> None:
        if statement.is_executed or statement.is_over:
            return
        self._abort(statement)
        is_sign_of_life = statement.sql == SEEN
        error = asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        self._answer(statement, [] if is_sign_of_life else error)
        self._settle()

    def _executed(self, statement: Statement) -> None:
        assert statement.task is not None
        statement.is_executed, statement.is_blocked = True, False
        error = statement.task.exception()
        if error is not None:
            self._roll_back(statement)
            self._later(statement, error)
            return
        answer = statement.task.result()
        self.timeline.after(self._seconds(), lambda: self._commit(statement, answer))

    def _seconds(self) -> float:
        slow = self.timeline.now < self.slow_until
        return self.timeline.random.uniform(*(self.slow_seconds if slow else QUICK_SECONDS))

    def _roll_back(self, statement: Statement) -> None:
        self.real.wait(statement.session.real.execute("ROLLBACK"))
        self._has_ended(statement)

    def _has_ended(self, statement: Statement) -> None:
        """Its transaction is over: who waited for it may go on."""
        if statement in self._running:
            self._running.remove(statement)
        for other in self._running:
            other.is_blocked = False

    def _commit(self, statement: Statement, answer: Any) -> None:
        if statement.is_over:
            return
        session, real = statement.session, self.real
        real.wait(session.real.execute(f"SELECT setval('sim.clock', {self._microseconds()}); COMMIT"))
        self._has_ended(statement)
        self._committed(statement, answer)
        if "pg_notify" in statement.sql:
            self._tell_listeners(session)
        self._answer(statement, answer)
        self._settle()

    def _tell_listeners(self, session: Session) -> None:
        for payload in self.real.notified(session.real):
            for other in self._sessions:
                if other.heard is not None:
                    other.heard(payload)

    def _abort(self, statement: Statement) -> None:
        """Nothing of it has happened."""
        statement.is_over = True
        task = statement.task
        if task is None:
            return
        if not task.done():
            self.real.fetch("SELECT pg_cancel_backend($1)", statement.session.pid)
            self.real.wait(asyncio.wait({task}))
        task.exception()
        if statement in self._running:
            self._roll_back(statement)

    def _later(self, statement: Statement, answer: Any) -> None:
        self.timeline.after(self._seconds(), lambda: self._answer(statement, answer))

    def _answer(self, statement: Statement, answer: Any) -> None:
        session = statement.session
        if session.statement is not statement:
            return
        statement.is_over = True
        session.statement, session.idle_since = None, self.timeline.now
        rows = type(answer).__name__ if isinstance(answer, BaseException) else len(answer)
        self.checks.say(f"{session.owner} {self._name(statement)}: {rows}")
        if not session.is_alive:
            self._let_go(session)
            return
        statement.reply(answer)
        if session.waiting:
            session.waiting.popleft()()

    def _name(self, statement: Statement) -> str:
        return self._names.get(statement.sql) or " ".join(statement.sql.split())[:40]

    # What the checks are told.

    def _seen_at_snapshot(self, statement: Statement, answer: Any) -> None:
        if self._name(statement) == "CONFIRM" and not isinstance(answer, BaseException) and answer[0]["stands"]:
            self.checks.stands(*statement.arguments)

    def _committed(self, statement: Statement, answer: Sequence[Any]) -> None:
        name, given, owner = self._name(statement), statement.arguments, statement.session.owner
        if name == "CLAIM_TERM" and answer:
            self.term = (answer[0]["term"], given[1])
            self.checks.claimed(answer[0]["term"], given[1], owner, deposes_living=False)
        elif name == "RECLAIM" and answer:
            self.term = (given[0], given[2])
            self.checks.stands(given[0], given[2])
        elif name == "RESIGN" and self.term == (given[0], given[1]):
            self.term = (given[0], None)
            self.checks.ended(given[0])
        elif name == "RECORD":
            self._look_at_owners(owner, given, {row["run_id"] for row in answer})
        if name == "REAP" and statement.living:
            since = EPOCH + timedelta(seconds=statement.sent_at + self.ahead_seconds)
            for row in self.real.fetch(LOST_SINCE, list(statement.living), since):
                self.checks.fail(f"I6: {owner} reaps {row.job_id} of {row.instance_id}, whose witness is held")
        if name in FENCED and FENCED[name](answer):
            places = _parameters(getattr(FENCED_IN[name], name))
            under = (given[places["term"]], given[places["nonce"]])
            if under != self.term:
                self.checks.fail(f"I2: {owner} commits {name} under term {under[0]}, and {self.term[0]} stands")

    def _look_at_owners(self, owner: str, given: tuple[Any, ...], refused: set[Any]) -> None:
        """I5: what ended a run was told by whoever has it."""
        places = _parameters(runs.RECORD)
        run_ids, statuses = given[places["run_ids"]], given[places["statuses"]]
        told = [run_id for run_id, status in zip_longest(run_ids, statuses) if status != "queued"]
        for row in self.real.fetch(OWNERS_OF, [run_id for run_id in told if run_id not in refused]):
            if row.instance_id != owner:
                self.checks.fail(
                    f"I5: {owner} says how {row.job_id} of {row.scheduled_for} ended: it is {row.instance_id}'s"
                )

    # What is told a second time.

    def _settle_session(self, session: Session, sql: str) -> None:
        given = dict(re.findall(r"set_config\('(\w+)', '(\w+)', false\)", sql))
        session.idle_limit_seconds = int(given["idle_session_timeout"]) / 1000
        session.lock_timeout_seconds = int(given["lock_timeout"]) / 1000
        self._watch_idle(session)

    def _evict(self, session: Session, older_than: timedelta) -> list[int] | None:
        pids = {row.pid for row in self.real.fetch(HOLDERS_OF_LEADER, session.pid)}
        before = self.timeline.now - older_than.total_seconds()
        evicted = [s for s in self._running if s.session.pid in pids and s.sent_at < before]
        for statement in evicted:
            if statement.session.is_alive:
                self.end(statement.session, "57P01")
            else:
                self._abort(statement)
                self._let_go(statement.session)
        return [statement.session.pid for statement in evicted] or None

    def _await_witness(self, statement: Statement, deadline: float) -> None:
        def look() -> None:
            if statement.is_over or statement.session.statement is not statement:
                return
            (row,) = self.real.fetch(WITNESS_HELD, statement.arguments[0])
            if not row.is_held:
                self._later(statement, [{"fell": True}])
            elif self.timeline.now >= deadline:
                self._later(statement, [{"fell": False}])
            else:
                self._witness_waiters.append(look)

        look()
        self.timeline.after(deadline - self.timeline.now, look)

    def _look_at_witnesses(self) -> None:
        waiters, self._witness_waiters = self._witness_waiters, []
        for look in waiters:
            look()


def _parameters(template: str) -> Mapping[str, int]:
    """Where each named parameter of a statement stands."""
    from .sessions import bind

    return {name: number for number, name in enumerate(bind(template)[1])}


FENCED: Mapping[str, Callable[[Sequence[Any]], bool]] = {
    "CLAIM": lambda rows: bool(rows) and rows[0]["term"] is not None,
    "ADOPT": bool,
    "REAP": lambda rows: bool(rows) and rows[0]["reaped"] > 0,
}
FENCED_IN = {"CLAIM": runs, "ADOPT": runs, "REAP": runs}


def _statements() -> Mapping[str, str]:
    """By name, as the driver is given them."""
    from .sessions import bind

    named = {}
    for name, template in vars(runs).items():
        if name.isupper() and isinstance(template, str):
            named[name] = bind(template)[0]
    for name, template in vars(takeovers).items():
        if name.isupper() and isinstance(template, str):
            named.setdefault(name, bind(template)[0])
    for name, template in vars(term_statements).items():
        if name.isupper() and isinstance(template, str):
            named[name] = fill(template, SCHEMA)
    return named

"""What the failover drill does to a Postgres of its own, as its superuser, and how it is undone.

Each act is a session of its own, which takes no part in what the act changes: it writes where others may only read, and
its clock is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from scheduler_core.storage.postgres.database import DRIVER_ERRORS
from scheduler_core.storage.postgres.errors import explain
from scheduler_core.storage.postgres.rights import grants
from scheduler_core.storage.postgres.schema_name import check_schema_name
from scheduler_core.storage.postgres.url import SESSION_SETTINGS, open_settled_session, parse_url

CONNECT_SECONDS = 5.0
PROMOTE_SECONDS = 30

OWN_SETTINGS = SESSION_SETTINGS | {
    "default_transaction_read_only": "off",
    "idle_in_transaction_session_timeout": "0",
    "search_path": "pg_catalog",
    # What is undone here must not wait for a standby.
    "synchronous_commit": "local",
}

PUBLICATION = "scheduler_drill_everything"
REPLICA_ROLE = "scheduler_drill_replica"

# The names and values that are put into these are constants of the drill's table of faults.
SET_DEFAULT = "ALTER SYSTEM SET {name} = '{value}'"
RESET_DEFAULT = "ALTER SYSTEM RESET {name}"
RELOAD = "SELECT pg_reload_conf()"

PUBLISH = f"CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"
UNPUBLISH = f"DROP PUBLICATION IF EXISTS {PUBLICATION}"

# What Postgres says when a file can't grow. It is said for rows that are written, as it would be: a statement that
# writes none goes on.
REFUSE_WRITES = (
    """
    CREATE OR REPLACE FUNCTION {schema}.drill_has_no_room() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END
    $$
    """,
    """
    CREATE TRIGGER drill_has_no_room BEFORE INSERT OR UPDATE ON {schema}.runs
    FOR EACH ROW EXECUTE FUNCTION {schema}.drill_has_no_room()
    """,
)
TAKE_WRITES = ("DROP FUNCTION IF EXISTS {schema}.drill_has_no_room() CASCADE",)

ROLE_EXISTS = "SELECT count(*) FROM pg_roles WHERE rolname = $1"
MAKE_ROLE = f"CREATE ROLE {REPLICA_ROLE}"
# The password is our own, of hexadecimal digits.
LET_ROLE_IN = f"ALTER ROLE {REPLICA_ROLE} LOGIN PASSWORD '{{password}}'"
REVOKE = f"REVOKE ALL ON ALL TABLES IN SCHEMA {{schema}}, {{schema}}_audit FROM {REPLICA_ROLE}"

# What sessions find before Postgres's own functions. How far it is off is looked up with each call, and so changes
# under their statements as a machine's clock would; what Postgres reads itself (log, statistics, defaults of columns)
# stays right.
CLOCK_FUNCTIONS = ("clock_timestamp", "statement_timestamp", "transaction_timestamp", "now")
MAKE_CLOCK = (
    "DROP SCHEMA IF EXISTS drill_clock CASCADE",
    "CREATE SCHEMA drill_clock",
    "CREATE TABLE drill_clock.off AS SELECT 0.0::float8 AS seconds",
    *(
        f"""
        CREATE FUNCTION drill_clock.{name}() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
            SELECT pg_catalog.{name}() + pg_catalog.make_interval(secs => (SELECT seconds FROM drill_clock.off))
        $$
        """
        for name in CLOCK_FUNCTIONS
    ),
    "GRANT USAGE ON SCHEMA drill_clock TO PUBLIC",
    "GRANT SELECT ON drill_clock.off TO PUBLIC",
)
GO_BY_CLOCK = """
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path TO drill_clock, pg_catalog, "$user", public', current_database());
END
$$
"""
SHIFT_CLOCK = "UPDATE drill_clock.off SET seconds = $1"

# What a drill may have left that was interrupted in the middle of a fault.
UNDO_ALL = (
    "ALTER SYSTEM RESET ALL",
    RELOAD,
    UNPUBLISH,
    """
    DO $$
    BEGIN
        EXECUTE format('ALTER DATABASE %I RESET search_path', current_database());
    END
    $$
    """,
    "DROP SCHEMA IF EXISTS drill_clock CASCADE",
)

STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = ANY ($1::text[])"
PROMOTE = f"SELECT pg_promote(true, {PROMOTE_SECONDS})"
REPLICATED_UNTIL = "SELECT pg_last_xact_replay_timestamp()"
WRITTEN = "SELECT pg_current_wal_lsn()::text"
HAS_REPLAYED = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"


class PostgresInjector:
    """Acts on the server at `url`, in the database that it names. Raises SchedulerErrors while the server is down."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = parse_url(url)
        self._schema = check_schema_name(schema)

    async def set_default(self, name: str, value: str) -> None:
        """Have every session of the server go by another setting from its next statement on."""
        await self._run(SET_DEFAULT.format(name=name, value=value), RELOAD)

    async def reset_default(self, name: str) -> None:
        """What `set_default` set is as it was."""
        await self._run(RESET_DEFAULT.format(name=name), RELOAD)

    async def undo_all(self) -> None:
        """Undo whatever any fault has done to the server as a whole."""
        await self._run(*UNDO_ALL)

    async def publish(self) -> None:
        """Publish all tables of the database, as a tool for replication does."""
        await self._run(PUBLISH)

    async def unpublish(self) -> None:
        """Publish them no more."""
        await self._run(UNPUBLISH)

    async def refuse_writes(self) -> None:
        """Have each row that is written into `runs` refused as on a full disk (53100)."""
        await self._run(*self._named(REFUSE_WRITES))

    async def take_writes(self) -> None:
        """Refuse them no more."""
        await self._run(*self._named(TAKE_WRITES))

    async def make_replica_role(self, password: str) -> None:
        """A role with the rights of a replica and no others."""
        if not await self._ask(ROLE_EXISTS, REPLICA_ROLE):
            await self._run(MAKE_ROLE)
        await self._run(LET_ROLE_IN.format(password=password))
        await self.grant()

    async def grant(self) -> None:
        """Give the replicas' role its rights."""
        await self._run(*grants(self._schema, REPLICA_ROLE))

    async def revoke(self) -> None:
        """Take from the replicas' role its rights on every table."""
        await self._run(*self._named((REVOKE,)))

    async def make_clock(self) -> None:
        """Have the sessions that are opened from now on go by a clock that can be moved. It is right as yet."""
        await self._run(*MAKE_CLOCK, GO_BY_CLOCK)

    async def shift_clock(self, seconds: float) -> None:
        """Have that clock show so much more than the true time from now on."""
        await self._ask(SHIFT_CLOCK, seconds)

    async def hold_snapshot(self) -> HeldSnapshot:
        """Open a transaction with an id and a snapshot, and leave it open."""
        session = await self._open()
        try:
            await session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await session.fetchval("SELECT pg_current_xact_id()::text")
        except DRIVER_ERRORS as error:
            session.terminate()
            raise explain(error, self._url, self._schema) from error
        return HeldSnapshot(session)

    async def is_streaming(self, *, synchronous: bool) -> bool:
        """Whether a standby streams from this server, and holds up each commit (`synchronous`)."""
        return bool(await self._ask(STREAMING, ["sync", "quorum"] if synchronous else ["async", "sync", "quorum"]))

    async def is_replayed_by(self, standby: PostgresInjector) -> bool:
        """Whether that standby has all that this server has written."""
        return bool(await standby._ask(HAS_REPLAYED, await self._ask(WRITTEN)))

    async def promote(self) -> datetime | None:
        """Make a primary of this standby. Returns when the last transaction was committed that it has; None if none."""
        await self._ask(PROMOTE)
        until: datetime | None = await self._ask(REPLICATED_UNTIL)
        return until

    def _named(self, templates: Sequence[str]) -> list[str]:
        return [template.replace("{schema}", self._schema) for template in templates]

    async def _open(self) -> asyncpg.Connection[Any]:
        try:
            session, _ = await open_settled_session(
                self._url, timeout_seconds=CONNECT_SECONDS, settings=OWN_SETTINGS, application_name="drill"
            )
        except DRIVER_ERRORS as error:
            raise explain(error, self._url, self._schema) from error
        return session

    async def _run(self, *statements: str) -> None:
        session = await self._open()
        try:
            for statement in statements:
                await session.execute(statement)
        except DRIVER_ERRORS as error:
            raise explain(error, self._url, self._schema) from error
        finally:
            session.terminate()

    async def _ask(self, question: str, *arguments: object) -> Any:
        session = await self._open()
        try:
            return await session.fetchval(question, *arguments)
        except DRIVER_ERRORS as error:
            raise explain(error, self._url, self._schema) from error
        finally:
            session.terminate()


class HeldSnapshot:
    """A transaction that is open until it is let go of."""

    def __init__(self, session: asyncpg.Connection[Any]) -> None:
        self._session = session

    def let_go(self) -> None:
        """End it, whatever has become of its server."""
        self._session.terminate()

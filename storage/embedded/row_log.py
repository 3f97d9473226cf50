"""A log of what every transaction did to leader, jobs and runs, written by triggers of the failover drill's own.

Each line says which transaction wrote a version of a row, which version that one overwrote (its writer, by `xmin`), and
who sat in the leader's row at that moment. It is rolled back with what it tells of, and replicated with it, so it holds
what was committed, and no more. The clock is Postgres's own, also where a fault moves the one that replicas read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from scheduler_core.storage.embedded.injections import CONNECT_SECONDS, OWN_SETTINGS
from scheduler_core.storage.postgres.database import DRIVER_ERRORS
from scheduler_core.storage.postgres.errors import explain
from scheduler_core.storage.postgres.schema_name import check_schema_name
from scheduler_core.storage.postgres.url import open_settled_session, parse_url

CHUNK = 5_000

LOGGED: Mapping[str, tuple[str, ...]] = {
    "leader": ("term", "nonce", "instance_id"),
    "jobs": ("job_id", "next_run", "version"),
    "runs": (
        "run_id", "job_id", "scheduled_for", "origin", "status", "reason", "term", "instance_id", "attempt",
        "deliveries", "missed_count", "missed_from",
    ),
    "attempts": ("run_id", "attempt", "outcome", "error_type", "term", "instance_id", "late"),
}  # fmt: skip
"""By table, the columns that are logged of it."""

# Outcomes count in a job's row with each run: of those nothing is logged but the version that they leave behind.
WHEN = {"jobs": "WHEN (OLD.next_run IS DISTINCT FROM NEW.next_run OR OLD.version <> NEW.version)"}

MAKE_TABLE = (
    "DROP SCHEMA IF EXISTS drill_trace CASCADE",
    "CREATE SCHEMA drill_trace",
    """
    CREATE TABLE drill_trace.row_changes (
        seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at              timestamptz NOT NULL,
        tx              text NOT NULL,
        over            text,
        relation        text NOT NULL,
        old             jsonb,
        new             jsonb,
        leader_term     bigint NOT NULL,
        leader_instance text,
        leader_tx       text NOT NULL
    )
    """,
)

# With the owner's rights: replicas have none here, and a fault may take those from them that they have.
MAKE_FUNCTION = """
CREATE FUNCTION drill_trace.log_{relation}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
DECLARE
    seat record;
BEGIN
    SELECT l.term, l.instance_id, l.xmin::text AS tx INTO seat FROM {schema}.leader l;
    INSERT INTO drill_trace.row_changes (at, tx, over, relation, old, new, leader_term, leader_instance, leader_tx)
    VALUES (pg_catalog.clock_timestamp(), pg_current_xact_id()::xid::text,
            CASE WHEN TG_OP <> 'INSERT' THEN OLD.xmin::text END, '{relation}',
            CASE WHEN TG_OP <> 'INSERT' THEN jsonb_build_object({old}) END,
            CASE WHEN TG_OP <> 'DELETE' THEN jsonb_build_object({new}) END,
            seat.term, seat.instance_id, seat.tx);
    RETURN NULL;
END
$$
"""
MAKE_TRIGGERS = """
CREATE TRIGGER drill_traced_updates AFTER UPDATE ON {schema}.{relation} FOR EACH ROW {when}
EXECUTE FUNCTION drill_trace.log_{relation}();
CREATE TRIGGER drill_traced AFTER INSERT OR DELETE ON {schema}.{relation} FOR EACH ROW
EXECUTE FUNCTION drill_trace.log_{relation}()
"""

CHANGES = """
SELECT seq, at, tx, over, relation, old::text AS old, new::text AS new, leader_term, leader_instance, leader_tx
FROM drill_trace.row_changes WHERE seq > $1 ORDER BY seq LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row, written once. `over`: the transaction whose version it overwrote; `leader_…`: the leader's row then."""

    at: datetime
    tx: str
    over: str | None
    relation: str
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    leader_term: int
    leader_instance: str | None
    leader_tx: str


class RowLog:
    """The log in the database that `url` names, as its superuser. Raises SchedulerErrors while the server is down."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = parse_url(url)
        self._schema = check_schema_name(schema)

    async def begin(self) -> None:
        """Log from now on; what an earlier log held is gone."""
        session = await self._open()
        try:
            async with session.transaction():
                for statement in (*MAKE_TABLE, *self._triggers()):
                    await session.execute(statement)
        except DRIVER_ERRORS as error:
            raise explain(error, self._url, self._schema) from error
        finally:
            session.terminate()

    def _triggers(self) -> list[str]:
        statements = []
        for relation, columns in LOGGED.items():
            pairs = {side.lower(): ", ".join(f"'{name}', {side}.{name}" for name in columns) for side in ("OLD", "NEW")}
            names = {"schema": f'"{self._schema}"', "relation": relation, "when": WHEN.get(relation, "")}
            statements += [MAKE_FUNCTION.format(**names, **pairs), MAKE_TRIGGERS.format(**names)]
        return statements

    async def changes(self) -> AsyncIterator[RowChange]:
        """All of it, in the order in which it was written, in chunks."""
        session = await self._open()
        try:
            after = 0
            while rows := await session.fetch(CHANGES, after, CHUNK):
                for row in rows:
                    yield _change(row)
                after = rows[-1]["seq"]
        except DRIVER_ERRORS as error:
            raise explain(error, self._url, self._schema) from error
        finally:
            session.terminate()

    async def _open(self) -> asyncpg.Connection[Any]:
        try:
            session, _ = await open_settled_session(
                self._url, timeout_seconds=CONNECT_SECONDS, settings=OWN_SETTINGS, application_name="drill"
            )
        except DRIVER_ERRORS as error:
            raise explain(error, self._url, self._schema) from error
        return session


def _change(row: Any) -> RowChange:
    held = dict(row)
    del held["seq"]
    old, new = (None if held.pop(side) is None else json.loads(row[side]) for side in ("old", "new"))
    return RowChange(old=old, new=new, **held)

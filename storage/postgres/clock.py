"""The database's clock: the reading that planning last went by, and what stops it; what each replica knows of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from scheduler_core.domain.clock import ClockState, Evidence, Hold, Machine, Reading
from scheduler_core.ports.clock import Agreement, ClockView, ReplicaTime
from scheduler_core.ports.election import Leadership
from scheduler_core.storage.postgres.database import Database, Row
from scheduler_core.storage.postgres.keys import NUDGE_CHANNEL


def _readable(row: str) -> str:
    """The condition that a row holds what Python has as well: edited by hand, it may hold anything."""
    instants = "'0001-01-03' AND '9999-12-30'"
    return (
        f"{row}.database_at BETWEEN {instants} AND {row}.wall_at BETWEEN {instants} "
        f"AND {row}.boottime BETWEEN -1e12 AND 1e12 AND {row}.error BETWEEN 0 AND 1e12"
    )


READABLE_HOLD = (
    f"{_readable('h')} AND h.expected_at BETWEEN '0001-01-03' AND '9999-12-30' AND h.evidence IN ('boottime', 'wall')"
)

# What can't be read is as if there were no row.
READ = f"""
SELECT clock_timestamp() AS now, c.only_row IS NOT NULL AS is_known, coalesce(c.version, 0) AS version,
       c.database_at, c.wall_at, c.boot, c.boottime, c.error,
       h.hold_id, h.expected_at, h.evidence, h.instance_id, h.database_at AS held_database_at,
       h.wall_at AS held_wall_at, h.boot AS held_boot, h.boottime AS held_boottime, h.error AS held_error,
       me.boot AS my_boot, me.clock_ahead AS my_clock_ahead, me.zone_release AS my_zone_release
FROM (VALUES (true)) AS always (only_row)
LEFT JOIN {{schema}}.clock c ON c.only_row = always.only_row AND {_readable("c")}
LEFT JOIN {{schema}}.clock_holds h ON h.ended_at IS NULL AND {READABLE_HOLD}
LEFT JOIN {{schema}}.instances me ON me.instance_id = :instance_id
ORDER BY h.hold_id DESC
LIMIT 1
"""

# Of the machines whose replicas were seen about as lately as anybody was: compared with the database's clock, which is
# what is in question, all of them might seem to be gone.
OTHERS = """
SELECT DISTINCT ON (boot) boot, clock_ahead FROM {schema}.instances
WHERE ended_at IS NULL AND boot IS NOT NULL AND clock_ahead IS NOT NULL AND instance_id <> :instance_id
  AND last_seen > (SELECT max(last_seen) FROM {schema}.instances) - interval '10 s'
ORDER BY boot, last_seen DESC
"""

# By the leader alone, and only where no operator has agreed to another time since it looked. That a leader is deposed
# at this very moment does no harm: what it stores is a reading that it could go by.
ACCEPT = """
WITH accepted AS (
    INSERT INTO {schema}.clock AS c (version, database_at, wall_at, boot, boottime, error, accepted_by)
    SELECT :version, :database_at, :wall_at, :boot, :boottime, :error, :instance_id
    WHERE EXISTS (SELECT FROM {schema}.leader WHERE term = :term AND nonce = :nonce)
    ON CONFLICT (only_row) DO UPDATE
    SET database_at = excluded.database_at, wall_at = excluded.wall_at, boot = excluded.boot,
        boottime = excluded.boottime, error = excluded.error, accepted_by = excluded.accepted_by
    WHERE c.version = :version
    RETURNING version
), ended AS (
    UPDATE {schema}.clock_holds SET ended_at = clock_timestamp(), ended_why = 'the clock is right again'
    WHERE ended_at IS NULL AND EXISTS (SELECT FROM accepted)
    RETURNING hold_id
)
SELECT (SELECT count(*) FROM accepted) AS accepted, (SELECT count(*) FROM ended) AS ended
"""

# Of several that find it out one is stored: there is one open hold for each version.
HOLD = """
INSERT INTO {schema}.clock_holds (version, expected_at, database_at, wall_at, boot, boottime, error, evidence, term,
                                  instance_id)
SELECT :version, :expected_at, :database_at, :wall_at, :boot, :boottime, :error, :evidence, :term, :instance_id
WHERE EXISTS (SELECT FROM {schema}.leader WHERE term = :term AND nonce = :nonce)
  AND coalesce((SELECT version FROM {schema}.clock), 0) = :version
ON CONFLICT DO NOTHING
RETURNING hold_id
"""

# The version that it raises makes every replica forget what it remembers, and a leader that has not seen it store
# nothing.
AGREE = f"""
WITH asked AS (
    SELECT WHERE CAST(:seen AS bigint) IS NULL
              OR EXISTS (SELECT FROM {{schema}}.clock_holds WHERE hold_id = :seen AND ended_at IS NULL)
), agreed AS (
    INSERT INTO {{schema}}.clock AS c (version, database_at, wall_at, boot, boottime, error, accepted_by)
    SELECT 1, clock_timestamp(), :wall_at, :boot, :boottime, 0, :by FROM asked
    ON CONFLICT (only_row) DO UPDATE
    SET version = c.version + 1, database_at = excluded.database_at, wall_at = excluded.wall_at,
        boot = excluded.boot, boottime = excluded.boottime, error = excluded.error, accepted_by = excluded.accepted_by
    RETURNING database_at
), ended AS (
    UPDATE {{schema}}.clock_holds SET ended_at = clock_timestamp(), ended_why = 'agreed to by ' || :by
    WHERE ended_at IS NULL AND EXISTS (SELECT FROM agreed)
    RETURNING hold_id
)
SELECT database_at, (SELECT max(hold_id) FROM ended) AS hold_id, pg_notify('{NUDGE_CHANNEL}', :schema || ':')
FROM agreed
"""

HOLDS = f"""
SELECT hold_id, expected_at, database_at, evidence, term, instance_id, ended_at, ended_why
FROM {{schema}}.clock_holds h WHERE {READABLE_HOLD} ORDER BY hold_id DESC LIMIT :limit
"""

PUBLISH = """
UPDATE {schema}.instances
SET boot = :boot, clock_ahead = :clock_ahead, zone_release = :zone_release, zones = CAST(:zones AS text[])
WHERE instance_id = :instance_id
"""


class ClockStore:
    """What is stored of the database's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        """The database's time."""
        return await self._database.now()

    async def read(self, instance_id: str = "") -> ClockView:
        """The database's time, what is stored of it, and what this replica has published of itself."""
        row = await self._database.fetch_one(READ, {"instance_id": instance_id})
        assert row is not None
        accepted = _reading(row, "") if row.is_known else None
        hold = None if row.hold_id is None else hold_of(row, "held_")
        published = (row.my_boot, row.my_clock_ahead, row.my_zone_release)
        return ClockView(row.now, ClockState(accepted, row.version, hold), published)

    async def others_ahead_seconds(self, instance_id: str) -> Mapping[str, float]:
        """By `boot`, how far the database's clock is ahead of those of the other machines whose replicas live."""
        rows = await self._database.fetch(OTHERS, {"instance_id": instance_id})
        return {row.boot: row.clock_ahead for row in rows}

    async def accept(self, leadership: Leadership, version: int, reading: Reading) -> bool:
        """Planning goes by this reading, and by no hold any more; returns whether one ended.

        Nothing happens if the term has ended or an operator has agreed to another time than `version`'s.
        """
        row = await self._database.fetch_one(ACCEPT, _parameters(leadership, version, reading))
        return row is not None and row.ended > 0

    async def hold(
        self, leadership: Leadership, version: int, reading: Reading, expected_at: datetime, evidence: Evidence
    ) -> bool:
        """Planning stops at this reading; False where it has stopped already, the term ended or somebody agreed."""
        parameters = _parameters(leadership, version, reading)
        rows = await self._database.fetch(HOLD, {**parameters, "expected_at": expected_at, "evidence": evidence.value})
        return bool(rows)

    async def agree(self, machine: Machine, by: str, *, seen: int | None = None) -> Agreement | None:
        """Have planning go by the database's clock as it is now.

        Parameters: machine, the caller's clocks; seen, the hold that the operator decided on: None, with which nothing
        happens, is returned if that one is not open any more.
        """
        row = await self._database.fetch_one(
            AGREE,
            {
                "seen": seen,
                "wall_at": machine.wall_at,
                "boot": machine.boot,
                "boottime": machine.boottime_seconds,
                "by": by,
                "schema": self._database.schema,
            },
        )
        return None if row is None else Agreement(row.database_at, row.hold_id)

    async def holds(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """Why planning stopped, the latest first."""
        return [dict(row) for row in await self._database.fetch(HOLDS, {"limit": limit})]

    async def publish(self, instance_id: str, time: ReplicaTime) -> None:
        """Say what a replica knows of time."""
        await self._database.fetch(
            PUBLISH,
            {
                "instance_id": instance_id,
                "boot": time.boot,
                "clock_ahead": time.clock_ahead_seconds,
                "zone_release": time.zone_release,
                "zones": sorted(time.zones),
            },
        )


def _parameters(leadership: Leadership, version: int, reading: Reading) -> dict[str, Any]:
    return {
        "term": leadership.term,
        "nonce": leadership.nonce,
        "instance_id": leadership.instance_id,
        "version": version,
        "database_at": reading.database_at,
        "wall_at": reading.machine.wall_at,
        "boot": reading.machine.boot,
        "boottime": reading.machine.boottime_seconds,
        "error": reading.error_seconds,
    }


def hold_of(row: Row, prefix: str = "") -> Hold:
    """A row of `clock_holds`; `prefix` stands before the names that `clock` has as well."""
    return Hold(row.hold_id, _reading(row, prefix), row.expected_at, Evidence(row.evidence), row.instance_id)


def _reading(row: Row, prefix: str) -> Reading:
    database_at, wall_at, boot, boottime, error = (
        row[f"{prefix}{name}"] for name in ("database_at", "wall_at", "boot", "boottime", "error")
    )
    return Reading(database_at, Machine(boot, boottime, wall_at), error)

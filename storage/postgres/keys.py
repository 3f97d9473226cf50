"""Names of things: advisory lock keys that replicas share, ids of runs."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID  # noqa: N811 - a class

from scheduler_core.ports.election import LeaseName

NUDGE_CHANNEL = "scheduler_nudge"
"""Where the leader listens: for the id of a job that changed, or "" for anything else."""

OFFER_CHANNEL = "scheduler_offers"
"""Where whoever executes listens: for the schema in which runs have been offered."""


# The server is told from every other by when it was started, which no copy of its files takes along, however it was
# made; a standby that is promoted goes on with its own.
LEASE_NAME = """
SELECT c.system_identifier, current_database() AS database, l.installation,
       pg_postmaster_start_time() AS server_started_at
FROM pg_control_system() c LEFT JOIN {schema}.leader l ON true
"""


def lease_name(answer: Mapping[str, Any], schema: str) -> LeaseName:
    """What the lease is called, by an answer to LEASE_NAME about this schema."""
    scheduler = (answer["system_identifier"], answer["database"], schema, answer["installation"])
    return LeaseName(":".join(map(str, scheduler)), answer["server_started_at"].astimezone(UTC).isoformat())


def advisory_key(kind: str, *names: str) -> int:
    """A signed 64-bit advisory lock key for something of a kind: 64 bits of BLAKE2b over its names.

    Advisory locks share one space per database; the kind and the schema among the names keep ours apart.
    """
    text = "\x1f".join(("scheduler", kind, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


# A generator of our own: `random.seed(0)` in somebody's code must not have two processes invent the same ids.
_random = random.Random(os.urandom(32))
os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


def new_run_id(now: datetime) -> UUID:
    """A version 7 UUID (RFC 9562): ordered by time, so that index pages fill in order.

    Parameters: now, an aware instant, gives the 48 bits of milliseconds; the rest is random.
    """
    milliseconds = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    noise = _random.getrandbits(74)
    value = (milliseconds << 80) | (0x7 << 76) | (noise >> 62 << 64) | (0x2 << 62) | (noise & ((1 << 62) - 1))
    # The driver's own class: made, hashed and compared in C, and a `uuid.UUID` to everybody.
    run_id: UUID = DriverUUID(value.to_bytes(16, "big"))
    return run_id


def first_run_id(instant: datetime, *, after: bool = False) -> UUID:
    """The smallest id that a run of this instant's millisecond can have (`after`: of the millisecond after it)."""
    milliseconds = int(instant.timestamp() * 1000) + int(after)
    return UUID(int=max(0, min(milliseconds, (1 << 48) - 1)) << 80)

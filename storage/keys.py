"""Names of things: advisory lock keys that replicas share, ids of runs."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from uuid import UUID

NUDGE_CHANNEL = "scheduler_nudge"
"""Where the leader listens: for the id of a job that changed, or "" for anything else."""


def advisory_key(kind: str, *names: str) -> int:
    """A signed 64-bit advisory lock key for something of a kind: 64 bits of BLAKE2b over its names.

    Advisory locks share one space per database; the kind and the schema among the names keep ours apart.
    """
    text = "\x1f".join(("scheduler", kind, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def new_run_id(now: datetime) -> UUID:
    """A version 7 UUID (RFC 9562): ordered by time, so that index pages fill in order.

    Parameters: now, an aware instant, gives the 48 bits of milliseconds; the rest is random.
    """
    milliseconds = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    noise = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds << 80) | noise
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return UUID(int=value)

"""Digests of definitions: the same in any process, so that two replicas know that they declare the same."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from functools import lru_cache
from typing import Any

from scheduler_core.domain.schedule import (
    Dst,
    ScheduleType,
)

canonical_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=datetime.isoformat).encode


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=4_096)
def schedule_digest_of(
    kind: ScheduleType,
    value: Any,
    start_at: datetime | None,
    end_at: datetime | None,
    calendars: tuple[str, ...],
    timezone: str | None,
    dst: Dst | None,
) -> str:
    """Many jobs share a schedule."""
    what: dict[str, Any] = {
        "schedule_type": kind,
        "schedule_value": value,
        "start_at": start_at,
        "end_at": end_at,
        "calendars": calendars,
    }
    what |= {name: given for name, given in (("timezone", timezone), ("dst", dst)) if given is not None}
    return digest_of(canonical_json(what))

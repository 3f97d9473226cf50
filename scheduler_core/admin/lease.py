"""The leader's lease as people ask for it: how long it still runs, and who else goes by its name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from scheduler_core.container import Container
from scheduler_core.domain.errors import ServerUnreachableError
from scheduler_core.storage.postgres.keys import LEASE_NAME, lease_name
from scheduler_core.storage.redis.leases import LeaseStore


async def lease_remaining_seconds(container: Container) -> float | None:
    """How long the lease still runs; None where nobody holds it, it never ends, or Redis can't say."""
    async with _named_lease(container) as lease:
        try:
            view = await lease.read()
        except ServerUnreachableError:
            return None
    return None if view is None else view.remaining_seconds


async def lease_findings(container: Container) -> list[dict[str, Any]]:
    """Who else goes by this scheduler's name on this Redis. Raises ServerUnreachableError."""
    leader = await _leaders_nonce(container)
    async with _named_lease(container) as lease:
        view, elsewhere = await lease.read(), await lease.elsewhere()
    found = [
        {
            "kind": "lease",
            "subject": other.instance_id or "-",
            "detail": "leads on another copy of this database, or on its server before the last start or failover, "
            f"by this same Redis: that server was started at {other.server}; each has a lease of its own",
        }
        for other in elsewhere
    ]
    if view is not None and view.token != leader:
        detail = "holds the lease in Redis and does not lead by this database"
        if view.remaining_seconds is None:
            detail += "; that lease never ends by itself: the replicas outlive it"
        found.append({"kind": "lease", "subject": view.instance_id or f"token {view.token:.40}", "detail": detail})
    return found


async def _leaders_nonce(container: Container) -> str | None:
    row = await container.get_database().fetch_one("SELECT nonce FROM {schema}.leader")
    return None if row is None else row.nonce


@contextlib.asynccontextmanager
async def _named_lease(container: Container) -> AsyncIterator[LeaseStore]:
    """The lease of the server that the pool is with."""
    schema = container.settings.schema
    row = await container.get_database().fetch_one(LEASE_NAME)
    assert row is not None
    lease = container.open_lease()
    lease.go_by(lease_name(row, schema))
    try:
        yield lease
    finally:
        await lease.close()

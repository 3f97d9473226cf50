"""How the scheduler stands: who leads, which replicas live, what has become of every job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from scheduler_core.domain.jobs.status import JobStatus

if TYPE_CHECKING:
    from scheduler_core.container import Container


async def leader_status(container: Container) -> dict[str, Any]:
    """Who leads, for how long the lease still runs (None: Redis can't say), and the replicas that live."""
    from scheduler_core.admin.lease import lease_remaining_seconds

    audit = container.get_audit()
    row, replicas = await audit.leader(), await audit.replicas()
    alive = {replica["instance_id"] for replica in replicas}
    if row["instance_id"] not in alive:
        row |= {"instance_id": None, "host": None, "pid": None, "acquired_at": None}
    return {
        **{key: row[key] for key in ("term", "instance_id", "host", "pid", "acquired_at")},
        "lease_expires_in": await lease_remaining_seconds(container),
        "replicas": replicas,
    }


async def iterate_job_statuses(container: Container, chunk: int = 1_000) -> AsyncIterator[JobStatus]:
    """Every job's status, in chunks: constant memory however many there are."""
    last = ""
    audit = container.get_audit()
    while True:
        ids = await audit.job_ids(after=last, limit=chunk)
        if not ids:
            return
        for status in await container.job_statuses(ids):
            yield status
        last = ids[-1]

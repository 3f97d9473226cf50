"""Why a job did or did not run: the facts are gathered here, and `domain.explanation` says what they mean."""

from __future__ import annotations

import asyncio

from scheduler_core.container import Container
from scheduler_core.domain.clock import Hold
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.planning.explanation import Explanation, Facts, LockFacts, explain
from scheduler_core.ports.runs import InvalidRow
from scheduler_core.storage.reads.explanations import ExplanationStore
from scheduler_core.storage.redis.locks import LockService


async def explanation_of(container: Container, job_id: str) -> Explanation:
    """Why a job did or did not run, what it waits for, and what comes next. Known is also what was removed."""
    store = ExplanationStore(container.get_database())
    state, runs, found, hold = await asyncio.gather(
        store.state(job_id), store.runs(job_id), container.get_storage().jobs.load([job_id]), open_hold(container)
    )
    job = found[0] if found else None
    readable = None if isinstance(job, InvalidRow) else job
    host, pid, leader = state.pop("host"), state.pop("pid"), state.pop("leader")
    return explain(
        Facts(
            **state,
            job_id=job_id,
            job=readable,
            problem=job.problem if isinstance(job, InvalidRow) else None,
            unknown_zone=job.unknown_zone if isinstance(job, InvalidRow) else None,
            clock=hold,
            leader=f"{leader} (host {host}, pid {pid})" if leader is not None else None,
            runs=tuple(runs),
            lock=None if readable is None else await _lock_facts(container, readable.definition),
        )
    )


async def open_hold(container: Container) -> Hold | None:
    """What has stopped planning; None where nothing has."""
    return (await container.get_clock().read()).state.hold


async def _lock_facts(container: Container, definition: JobDefinition) -> LockFacts | None:
    """Who holds a job's distributed lock; None for a job without one."""
    if not definition.use_distributed_lock:
        return None
    key = definition.lock_key or f"job:{definition.job_id}"
    service = container.get_lock_service()
    # A lock service of the user's need not be able to tell.
    if not isinstance(service, LockService):
        return LockFacts(key, is_known=False)
    try:
        held = await service.holder(key)
    except SchedulerError:
        return LockFacts(key, is_known=False)
    if held is None:
        return LockFacts(key, is_known=True)
    owner, expires_in_seconds = held
    return LockFacts(key, is_known=True, is_held=True, run_id=owner, expires_in_seconds=expires_in_seconds)

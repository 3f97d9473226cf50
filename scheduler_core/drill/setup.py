"""The opening of a drill: servers, jobs, proxies and replicas come up in this order, and go down in the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.drill.callbacks import schedule_job
from scheduler_core.drill.clock import DrillClock
from scheduler_core.drill.commands import Commands
from scheduler_core.drill.faults import check_faults, equipment, involved
from scheduler_core.drill.folder import DrillFolder
from scheduler_core.drill.jobs import JOB_KINDS, drill_jobs, write_jobs
from scheduler_core.drill.proxy_thread import ProxyThread
from scheduler_core.drill.replicas import Replicas
from scheduler_core.drill.schedule import DrillPlan
from scheduler_core.drill.servers import open_servers
from scheduler_core.drill.stage import Stage
from scheduler_core.runtime.task_ends import end_tasks

JOBS_BEGIN_SECONDS = 2.0
"""The first instant lies so far ahead that the jobs are stored before it."""

SETTLE_SECONDS = 60.0


@asynccontextmanager
async def open_stage(plan: DrillPlan, kept: DrillFolder, on_progress: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Everything up: servers, jobs, proxies where faults need them, replicas. All down at the end."""
    faults, folder = involved(plan), kept.path
    async with AsyncExitStack() as stack:
        on_progress("starting the servers" if plan.staging is None else "looking at the servers")
        servers = await open_servers(plan, folder)
        stack.push_async_callback(servers.close, keep=plan.keep)
        check_faults(faults, embedded=servers.embedded is not None, proxiable=servers.proxiable)

        await servers.migrate()
        clock = DrillClock()
        await clock.read(servers.reader)
        jobs = drill_jobs(_on_the_millisecond(clock.now() + timedelta(seconds=JOBS_BEGIN_SECONDS)))
        drill_file = folder / "drill.json"
        write_jobs(drill_file, jobs, folder)
        starts_at = {job.job_id: job.starts_at for job in jobs}
        await servers.store([schedule_job(kind, starts_at[kind.job_id]) for kind in JOB_KINDS])

        needed = equipment(faults)
        await servers.equip(needed, folder)
        if plan.trace is not None:
            await servers.row_log.begin()
        proxied = frozenset[str]().union(*(fault.proxied for fault in faults))
        proxies = ProxyThread() if proxied or needed.standby else None
        if proxies is not None:
            stack.push_async_callback(proxies.close)
        replicas = Replicas(servers, clock, folder, drill_file, proxies, proxied)
        stack.push_async_callback(replicas.stop)
        stage = Stage(plan, servers, replicas, clock, Commands(folder / "commands"), proxies, jobs)
        on_progress(f"starting {plan.replicas} replicas")
        kept.worth_a_look = True
        await replicas.replace_dead(plan.replicas)
        await _first_leader(stage, folder)
        yield stage


async def _first_leader(stage: Stage, folder: Path) -> None:
    """Wait until everybody takes part and somebody fires. Raises SchedulerError, also when a replica ends instead."""
    waiting = asyncio.create_task(stage.settled_leader(SETTLE_SECONDS), name="drill first leader")
    ends = [replica.reaper for replica in stage.replicas.all if replica.reaper is not None]
    try:
        await asyncio.wait({waiting, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done() or waiting.result() is None:
            raise SchedulerError(
                f"of {stage.plan.replicas} replicas {len(stage.replicas.should_take_part)} live and nobody fires: "
                f"their logs are in {folder}"
            )
    finally:
        await end_tasks(waiting)


def _on_the_millisecond(instant: datetime) -> datetime:
    return instant.replace(microsecond=instant.microsecond // 1_000 * 1_000)

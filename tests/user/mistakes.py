"""Mistakes that a user makes: a type checker reports each line that says so, and no other. Never run."""
# ruff: noqa: F401, I001 - a name that does not exist is imported, on a line of its own

from __future__ import annotations

from scheduler_core import (
    Calendar,
    JobStatus,
    LockService,
    RunContext,
    ScheduleJob,
    SchedulerService,
    ScheduleType,
    TableFamily,
    job,
    next_fires,
)
from scheduler_core import NoSuchName  # mistake
from scheduler_core.domain.runs.ticket import Ticket, Told
from scheduler_core.ports.executor import Executor
from scheduler_core.testing import ManualScheduler
from scheduler_core.testing import NoSuchHelper  # mistake
from scheduler_core.web import create_apps  # mistake


def work() -> int:
    return 1


def several(scheduled: ScheduleJob, status: JobStatus, ctx: RunContext) -> None:
    job("unknown-field", every=30, retries=3)(work)  # mistake
    job("state", every=30, run_count=3)(work)  # mistake
    job("wrong-type", every=30, timeout="5 s")(work)  # mistake
    job("wrong-type", every=30, max_retries=1.5)(work)  # mistake
    job("wrong-type", every=[30])(work)  # mistake
    job("wrong-type", daily=9)(work)  # mistake
    job("wrong-type", cron=5)(work)  # mistake
    job("wrong-type", once=0)(work)  # mistake
    job("wrong-type", every=30, args="ab")(work)  # mistake
    job("wrong-type", every=30, kwargs=["ab"])(work)  # mistake
    job("wrong-type", every=30, tags="nightly")(work)  # mistake
    job("by-position", 30)(work)  # mistake
    job(work)  # mistake
    text: str = job("keeps-its-type", every=30)(work)()  # mistake
    ScheduleJob("j", "J", ScheduleType.INTERVAL, 30)  # mistake
    ScheduleJob("j", "J", ScheduleType.INTERVAL, 30, work, retries=3)  # mistake
    ScheduleJob("j", "J", ScheduleType.INTERVAL, 30, work, max_retries="3")  # mistake
    ScheduleJob("j", "J", ScheduleType.INTERVAL, object(), work)  # mistake
    ScheduleJob("j", "J", 3, 30, work)  # mistake
    ScheduleJob("j", "J", ScheduleType.INTERVAL, 30, 3)  # mistake
    ScheduleJob("j", "J", ScheduleType.INTERVAL, 30, work, timezone=1)  # mistake
    ScheduleJob("j", "J", ScheduleType.INTERVAL, 30, work, kwargs=None)  # mistake
    scheduled.max_retries = "4"  # mistake
    scheduled.retries = 4  # mistake
    print(status.run_counts, text)  # mistake
    print(ctx.idempotency)  # mistake
    next_fires(scheduled, "2026-01-01", 3)  # mistake
    Calendar("closed", excluded_weekdays=5)  # mistake
    TableFamily("orders", retention_days="30")  # mistake
    SchedulerService.init(object())  # mistake
    SchedulerService.init(settings={"lease_ttl": 1})  # mistake
    SchedulerService.get_job_status(1)  # mistake


async def verbs(locks: LockService, manual: ManualScheduler) -> None:
    await SchedulerService.add_job("report")  # mistake
    await SchedulerService.add_jobs(["report"])  # mistake
    await SchedulerService.trigger_job()  # mistake
    await SchedulerService.run_job("report")  # mistake
    await SchedulerService.pause_job("report", until="tomorrow")  # mistake
    await SchedulerService.fetch_all_jobs_status()  # mistake
    await locks.acquire("key")  # mistake
    await manual.advance("1 h")  # mistake


class Incomplete:
    """An executor that can't be stopped."""

    async def start(self) -> None: ...

    async def execute(self, ticket: Ticket) -> Told | None: ...


def make() -> Executor:
    return Incomplete()  # mistake

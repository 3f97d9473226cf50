"""A service as a user writes it, over the whole public surface. Checked and run against the installed wheel."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import assert_type
from uuid import UUID
from zoneinfo import ZoneInfo

import redis.asyncio
from fastapi import FastAPI

from scheduler_core import (
    AlreadyInitializedError,
    BaseScheduler,
    Calendar,
    CalendarInUseError,
    CalendarNotFoundError,
    CallbackNotAllowedError,
    CallbackNotFoundError,
    Container,
    Delivery,
    Dst,
    EmbeddedServerError,
    InvalidCalendarError,
    InvalidJobError,
    InvalidScheduleError,
    InvalidSettingsError,
    JobConflictError,
    JobNotFoundError,
    JobStatus,
    JobVersionNotFoundError,
    LockLostError,
    LockService,
    Misfire,
    NotInitializedError,
    NotLeaderError,
    Origin,
    Overlap,
    Run,
    RunContext,
    RunLogFilter,
    RunNotFoundError,
    RunStateError,
    RunStatus,
    ScheduleJob,
    SchedulerError,
    SchedulerService,
    ScheduleType,
    SchemaError,
    ServerUnreachableError,
    ServiceContainer,
    Settings,
    Summary,
    TableFamily,
    TableScheduler,
    WrongLoopError,
    country_calendar,
    job,
    load_jobs,
    load_settings,
    next_fires,
)
from scheduler_core.domain.runs.ticket import Ticket, Told
from scheduler_core.ports.executor import Executor, ExecutorContext
from scheduler_core.testing import ManualScheduler, RecordedRun, VirtualClock, VirtualTimeError
from scheduler_core.web import create_app, scheduler_lifespan

logger = logging.getLogger(__name__)
handler = logging.StreamHandler()
handler.addFilter(RunLogFilter())

SOON = datetime.now(UTC) + timedelta(hours=1)

# Jobs by decorator: each kind of schedule, each kind of function. What is decorated keeps its type.


@job("report", daily="14:30", timezone="Europe/Berlin")
async def report() -> int:
    return 1


@job("import", every=30, max_retries=5, args=["orders"], kwargs={"limit": 10})
def import_orders(what: str, *, limit: int = 0) -> str:
    return what * limit


@job("with-context", cron="*/5 * * * *", delivery=Delivery.AT_MOST_ONCE, overlap="queue")
async def with_context(ctx: RunContext) -> None:
    ctx.logger.info("attempt %d of %s, scheduled for %s", ctx.attempt, ctx.job_id, ctx.scheduled_for.isoformat())
    left: timedelta | None = None if ctx.deadline is None else ctx.deadline - datetime.now(UTC)
    key: str = ctx.idempotency_key
    which: UUID = ctx.run_id
    if not ctx.still_owner() or ctx.cancel_requested():
        logger.warning("%s, %s, term %d: %s left", key, which, ctx.term, left)


@job("blocking-with-context", once=None)
def blocking_with_context(ctx: RunContext) -> None:
    ctx.logger.debug("%s", ctx.run_id)


@job("at", once=SOON)
@job("and-again", once="2099-01-01T09:00", timezone=ZoneInfo("Asia/Seoul"))
def twice() -> None: ...


class Reports:
    """Static and class methods are callbacks too; a bound method stays with this process."""

    @staticmethod
    @job("of-a-class", every=timedelta(minutes=5))
    async def build(ctx: RunContext) -> None:
        await asyncio.sleep(0)

    async def send(self, to: str) -> None:
        logger.info("to %s", to)


@job(
    "every-field",
    daily=["09:00", "17:30:15"],
    name="Every field",
    enabled=False,
    use_distributed_lock=True,
    lock_key="report",
    lock_ttl=timedelta(minutes=2),
    max_retries=0,
    args=(1, "two", None),
    kwargs={"three": [3.0]},
    timezone="Europe/Berlin",
    start_at="2026-01-01T00:00",
    end_at=datetime(2099, 1, 1, tzinfo=UTC),
    jitter=0.5,
    calendars=["holidays"],
    misfire=Misfire.ALL,
    misfire_grace=60,
    catch_up_limit=10,
    overlap=Overlap.ALLOW,
    delivery="at_least_once",
    timeout=30.0,
    retry_delay=1,
    retry_max_delay=timedelta(seconds=60),
    disable_after=5,
    executor="local",
    tags={"nightly"},
    dst=Dst.SKIP,
)
def every_field(*args: object, **kwargs: object) -> None: ...


async def keeps_its_type() -> None:
    """What a decorated function takes and gives is known."""
    number = assert_type(await report(), int)
    text = assert_type(import_orders("orders", limit=number), str)
    await Reports.build(context())
    logger.info("%s", text)


def context() -> RunContext:
    return RunContext(UUID(int=1), "j", SOON, 1, 1, "j@now", None, logger, lambda: True)


# Jobs by value: by position as the reference has it, and every field by keyword.

BY_POSITION = ScheduleJob(
    "by-position",
    "By position",
    ScheduleType.INTERVAL,
    60,
    report,
    True,
    False,
    None,
    300,
    None,
    None,
    0,
    0,
    3,
)
EVERY_FIELD = ScheduleJob(
    job_id="by-keyword",
    name="By keyword",
    schedule_type="cron",
    schedule_value="0 9 * * MON-FRI",
    callback=every_field,
    enabled=True,
    use_distributed_lock=False,
    lock_key=None,
    lock_ttl=300,
    last_run=None,
    next_run=None,
    run_count=0,
    error_count=0,
    max_retries=3,
    args=["a"],
    kwargs={"b": {"c": [1, 2]}},
    timezone="UTC",
    start_at=None,
    end_at=None,
    jitter=timedelta(seconds=1),
    calendars=(),
    misfire="skip",
    misfire_grace=timedelta(seconds=10),
    catch_up_limit=100,
    overlap=Overlap.SKIP,
    delivery=Delivery.AT_LEAST_ONCE,
    timeout=None,
    retry_delay=1.0,
    retry_max_delay=60.0,
    disable_after=None,
    executor="local",
    tags=["a", "b"],
    dst="once",
)
OTHERS = [
    ScheduleJob("times", "Times", ScheduleType.DAILY, [time(9), time(17, 30)], report),
    ScheduleJob("named", "Named", ScheduleType.ONCE, None, "service:import_orders", args=["a"]),
    ScheduleJob("half-bound", "Half bound", "interval", "90", functools.partial(import_orders, "a")),
    ScheduleJob("method", "Method", "interval", timedelta(hours=1), Reports().send, args=["all"]),
]


def change(scheduled: ScheduleJob) -> str:
    scheduled.max_retries = 4
    scheduled.misfire = Misfire.LATEST
    tags: tuple[str, ...] = scheduled.tags
    fires: list[datetime] = next_fires(scheduled, datetime.now(UTC), 3)
    return f"{scheduled.job_id} {scheduled.schedule_type.value} {tags} {len(fires)}"


# Calendars and tables.

HOLIDAYS = Calendar(
    "holidays", {"2026-12-25": "Christmas"}, ["sat", "sun"], [(SOON, SOON + timedelta(hours=1))], "no work"
)
ALL_HOLIDAYS = HOLIDAYS.united(Calendar.business_days("business", ["2026-01-01"]))
ORDERS = TableFamily(
    "orders",
    columns={"id": "bigint", "at": "timestamptz"},
    partitioned=True,
    time_column="at",
    days_ahead=2,
    retention_days=None,
    summary=Summary({"orders": "count(*)"}),
)
TableScheduler.register(ORDERS)
MAINTENANCE = [
    ScheduleJob("daily-tables", "Daily tables", "daily", "00:10", TableScheduler.create_daily_tables),
    ScheduleJob("summaries", "Summaries", "daily", "00:20", TableScheduler.create_monthly_summary_tables),
    ScheduleJob("cleanup", "Cleanup", "daily", "00:30", TableScheduler.cleanup_old_tables),
]


def german_holidays() -> Calendar:
    return country_calendar("de", "DE", years=range(2026, 2028), subdivision="BE", business_days=True)


def from_file(path: Path) -> list[ScheduleJob]:
    return load_jobs(path)


# Locks.


def connect(settings: Settings) -> redis.asyncio.Redis:
    url = settings.redis_url or "redis://localhost"
    return redis.asyncio.Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType] - redis's own types


async def under_a_lock(locks: LockService) -> bool:
    token: str | None = await locks.acquire("report", 10.0)
    if token is None or not await locks.renew("report", token, ttl=10.0):
        return False
    await locks.release("report", token)
    async with locks.hold("import", 5) as held:
        return held is not None


class Locks:
    """A lock service of the user's own: any object with these three."""

    async def acquire(self, key: str, ttl: float) -> str | None:
        return f"{key} for {ttl}"

    async def renew(self, key: str, token: str, ttl: float) -> bool:
        return bool(key and token and ttl)

    async def release(self, key: str, token: str) -> bool:
        return bool(key and token)


# An executor of the user's own.


class BatchExecutor:
    """A plug-in under the entry point group `scheduler_core.executors`."""

    def __init__(self, context: ExecutorContext) -> None:
        self.settings: Mapping[str, object] = context.settings
        self.may_call: Sequence[str] = context.abilities().callbacks
        context.logger.info("made for %s", context.instance_name)

    async def start(self) -> None: ...

    async def execute(self, ticket: Ticket) -> Told | None:
        logger.info("run %s, attempt %d, term %d", ticket.run_id, ticket.attempt, ticket.term)
        return Told(RunStatus.SUCCEEDED)

    async def stop(self) -> None: ...


def make_executor(context: ExecutorContext) -> Executor:
    return BatchExecutor(context)


# The facade.


async def verbs() -> None:
    await SchedulerService.add_job(BY_POSITION)
    await SchedulerService.add_jobs([EVERY_FIELD, *MAINTENANCE])
    calendar: Calendar = await SchedulerService.fetch_calendar("holidays")
    run: Run = await SchedulerService.trigger_job("by-position")
    origin: Origin = run.origin
    known: JobStatus | None = SchedulerService.get_job_status("by-position")
    everything: dict[str, JobStatus] = SchedulerService.get_all_jobs_status()
    stored: JobStatus | None = await SchedulerService.fetch_job_status("by-position")
    paused = [status.job_id async for status in SchedulerService.fetch_all_jobs_status() if status.paused]
    logger.info("%s %s %s %s %s %s", calendar.name, origin, known, len(everything), stored, paused)
    await SchedulerService.pause_job("by-position", until=SOON, by="me", note="because")
    await SchedulerService.resume_job("by-position")
    backfill = await SchedulerService.backfill_job(
        "by-keyword", SOON - timedelta(days=8), SOON - timedelta(days=7), limit=50
    )
    reverted: bool = await SchedulerService.revert_job("by-position", 1)
    logger.info("%s %s", backfill, reverted)
    try:
        status: RunStatus = await SchedulerService.cancel_run(run.run_id, by="me")
        logger.info("%s", status.is_finished)
        await SchedulerService.rerun(str(run.run_id))
    except (RunStateError, RunNotFoundError) as error:
        logger.info("it was faster: %s", error)
    await SchedulerService.remove_job("by-position")
    await SchedulerService.add_calendar(Calendar("closed", ["2026-12-24"]))
    await SchedulerService.remove_calendar("closed")
    await SchedulerService.resign()


@asynccontextmanager
async def running(settings: Settings) -> AsyncGenerator[BaseScheduler]:
    client = connect(settings)
    SchedulerService.init(LockService(client, prefix="app:"), settings=settings, logger=logger)
    try:
        await SchedulerService.add_calendar(HOLIDAYS)
        await SchedulerService.start()
        assert SchedulerService.is_initialized()
        yield SchedulerService.get_scheduler()
    finally:
        await SchedulerService.shutdown()
        await client.aclose()


async def by_hand(settings: Settings) -> None:
    """A container of one's own, and the default one."""
    container = Container(settings, lock_service=Locks(), logger=logger)
    scheduler: BaseScheduler = await container.start([BY_POSITION])
    try:
        logger.info("%s %s %s", scheduler.is_running, scheduler.is_leader, scheduler.health_snapshot().state)
        statuses: list[JobStatus] = await container.job_statuses(["by-position"])
        logger.info("%d", len(statuses))
    finally:
        await container.close()
    ServiceContainer.configure(settings)
    logger.info("%s %s", ServiceContainer.get_storage(), ServiceContainer.get_lock_service())
    await ServiceContainer.close()


def explain(error: SchedulerError) -> int:
    match error:
        case AlreadyInitializedError() | NotInitializedError() | InvalidSettingsError() | WrongLoopError():
            return 1
        case InvalidScheduleError() | InvalidJobError() | InvalidCalendarError():
            return 2
        case JobVersionNotFoundError() | JobNotFoundError() | CalendarNotFoundError() | CalendarInUseError():
            return 1
        case (
            CallbackNotAllowedError()
            | CallbackNotFoundError()
            | JobConflictError()
            | NotLeaderError()
            | LockLostError()
        ):
            return 1
        case ServerUnreachableError() | EmbeddedServerError() | SchemaError():
            return 3
        case _:
            return 1


# The API and the dashboard.

application = FastAPI(lifespan=scheduler_lifespan)
application.mount("/scheduler", create_app())


# Tests of the user's own.


async def test_in_virtual_time() -> list[RecordedRun]:
    clock = VirtualClock("2026-03-28T12:00Z")
    async with ManualScheduler(clock, timezone="Europe/Berlin") as scheduler:
        await scheduler.add_job(ScheduleJob("report", "Report", "daily", "02:00", report))
        await scheduler.advance(timedelta(days=3).total_seconds())
        await scheduler.advance_to("2026-04-02T00:00Z")
        assert {run.status for run in scheduler.runs} == {RunStatus.SUCCEEDED}
        try:
            await scheduler.advance(-1)
        except VirtualTimeError as error:
            logger.info("%s, it is %s", error, clock.now())
        return list(scheduler.runs_of("report"))


async def main() -> None:
    settings = load_settings(lease_ttl=1.0, drain_timeout=2)
    await keeps_its_type()
    assert len(await test_in_virtual_time()) == 5
    print(change(EVERY_FIELD), explain(NotInitializedError("not yet")), settings.default_timezone)
    async with running(settings) as scheduler:
        await verbs()
        print("leads" if scheduler.is_leader else "follows")
    await by_hand(settings)
    client = connect(settings)
    assert await under_a_lock(LockService(client))
    await client.aclose()
    print("done")


if __name__ == "__main__":
    asyncio.run(main())

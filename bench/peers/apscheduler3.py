"""APScheduler 3 with its SQLAlchemy job store on Postgres.

Chosen, from its user guide ("Choosing the right scheduler, job store(s), executor(s) and trigger(s)", "Configuring the
scheduler"): a scheduler that is the process's only work (BlockingScheduler), psycopg 3, a pool of `size` threads (20
is the guide's figure). An AsyncIOScheduler does the same statements, one job after the other.
`misfire_grace_time=None`, or it drops what is more than a second late ("Missed job executions and coalescing").

One process only: its FAQ ("How do I share a single job store among one or more worker processes?") says that a store
can't be shared; there is no election and no lock. For the takeover two processes share one all the same, as services
with several workers do; both fire.

Recorded: nothing. A job that has fired is deleted from the store, so a fire counts as done when the task has run and
the store is empty again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.blocking import BlockingScheduler
from inside import Given, fires, ready
from sqlalchemy import create_engine, text


def fire(key: int, due: float) -> None:
    fires.write(key, due)


def url(given: Given) -> str:
    return given.database_url.replace("postgresql://", "postgresql+psycopg://")


def install(given: Given) -> None:
    SQLAlchemyJobStore(url=url(given)).start(None, "default")


def enqueue(given: Given) -> None:
    scheduler = BackgroundScheduler(jobstores={"default": SQLAlchemyJobStore(url=url(given))}, timezone="UTC")
    scheduler.start(paused=True)
    for index in range(given.count):
        due = given.instant(index)
        instant = datetime.fromtimestamp(due, UTC)
        scheduler.add_job(fire, "date", run_date=instant, args=(index, due), misfire_grace_time=None)
    scheduler.shutdown()


def work(given: Given) -> None:
    store = {"default": SQLAlchemyJobStore(url=url(given))}
    if given.mode == "takeover":
        scheduler = BlockingScheduler(jobstores=store, timezone="UTC")
        for key in range(given.schedules):
            scheduler.add_job(
                fire,
                "interval",
                seconds=given.period,
                args=(key, 0),
                id=f"tick-{key}",
                replace_existing=True,
                start_date=datetime.fromtimestamp(given.due, UTC),
            )
    else:
        scheduler = BlockingScheduler(
            jobstores=store,
            executors={"default": ThreadPoolExecutor(given.size)},
            timezone="UTC",
            job_defaults={"misfire_grace_time": None},
        )
    ready(given)
    scheduler.start()


def counter(given: Given) -> Callable[[], int]:
    connection = create_engine(url(given), isolation_level="AUTOCOMMIT").connect()

    def count() -> int:
        left = connection.execute(text("SELECT count(*) FROM apscheduler_jobs")).scalar_one()
        return min(fires.count(), given.count - left)

    return count

"""DBOS Transact for Python.

Chosen, from its tutorials "Queues & Concurrency" (a queue without limits is the fastest; `DBOSClient.enqueue` from
outside; delayed enqueue for an exact instant) and "Scheduling Workflows", and its reference "Configuration": a unique
`executor_id` per process, as it asks for, and `polling_interval_sec` of the queue at 50 ms instead of 1 s. Delayed
workflows are looked for once a second, for which there is no setting. Workflows are `async def`: no thread per
no-op. The task writes the instant of its fire in the workflow itself: a step would cost one more write.

Takeover: schedules with seconds, two processes with default settings. Every process plans every tick, up to a
tenth of a second late on purpose; the workflow's id, made of the schedule's name and the instant, lets one through.

Recorded: the workflow's status row with inputs and output.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
from dbos import DBOS, DBOSClient, DBOSConfig
from inside import Given, fires, ready

QUEUE = "fires"
VERSION = "1"
POLLING_SECONDS = 0.05
DONE = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"


@DBOS.workflow(name="nothing")
async def nothing() -> None: ...


@DBOS.workflow(name="fire")
async def fire(key: int, due: float) -> None:
    fires.write(key, due)


@DBOS.workflow(name="tick")
async def tick(scheduled_at: datetime, key: Any) -> None:
    fires.write(key, scheduled_at.timestamp())


def launch(given: Given, executor: str) -> None:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": given.database_url,
        "application_version": VERSION,
        "executor_id": executor,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()


def install(given: Given) -> None:
    launch(given, "install")
    if given.mode != "takeover":
        DBOS.register_queue(QUEUE, polling_interval_sec=POLLING_SECONDS)
    DBOS.destroy()


def enqueue(given: Given) -> None:
    client = DBOSClient(system_database_url=given.database_url)
    name = "nothing" if given.mode == "throughput" else "fire"
    for index in range(given.count):
        due = given.instant(index)
        arguments = () if given.mode == "throughput" else (index, due)
        client.enqueue(
            {
                "queue_name": QUEUE,
                "workflow_name": name,
                "app_version": VERSION,
                "delay_seconds": due - time.time(),
            },
            *arguments,
        )
    client.destroy()


def work(given: Given) -> None:
    launch(given, f"worker-{given.number}")
    if given.mode == "takeover":
        DBOS.apply_schedules(
            [
                {"schedule_name": f"tick-{key}", "workflow_fn": tick, "schedule": "* * * * * *", "context": key}
                for key in range(given.schedules)
            ]
        )
    ready(given)
    threading.Event().wait()


def counter(given: Given) -> Callable[[], int]:
    connection = psycopg.connect(given.database_url, autocommit=True)

    def count() -> int:
        row = connection.execute(DONE).fetchone()
        assert row is not None
        return int(row[0])

    return count

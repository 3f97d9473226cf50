"""Celery beat with RedBeat; broker and schedule on Redis.

Chosen, from Celery's "Optimizing" (prefork pool of `size` processes, a large prefetch multiplier for short tasks,
results ignored) and "Workers Guide" (no gossip, mingle or heartbeat for one worker), and RedBeat's "Configuration": one
worker, and beat in a process of its own with `RedBeatScheduler`. RedBeat knows intervals, crontabs by the minute and
the like; a job that is due once is an entry of a day's interval whose last run is put a day before. Entries are made
with `RedBeatSchedulerEntry(…).save()` ("Creating Tasks"); an entry whose last run is long past gets a place in the
schedule that is too early, and beat would load it at each tick until it is due: the right one, in whole seconds as
RedBeat counts, is put in its favour.
`beat_max_loop_interval` is 0.1 s: a tick that meets an entry in the instant in which it falls due sleeps as long as
the entry's interval, up to this setting, whatever else is due.

Celery can also hold a task with an `eta` in the memory of a worker; that has no beat in it and is not measured.

Takeover: two beats with default settings, and a worker that lives. The lock's default lifetime is five times the
longest sleep of beat, 1,500 s, and the second beat asks for it every 300 s.

Recorded: nothing (results ignored, as the page advises). A fire counts as done when the task has run. Redis keeps what
it keeps by the project's embedded settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from celery import Celery
from celery.schedules import schedule
from celery.signals import before_task_publish
from inside import Given, fires, ready
from redbeat import RedBeatScheduler, RedBeatSchedulerEntry
from redis import Redis

DAY_SECONDS = 86_400
LONGEST_SLEEP_SECONDS = 0.1
LOCK_SECONDS = 1_500
"""The default: it would else be five times the longest sleep, and RedBeat drops the fraction of a second."""
DATABASE = 5
"""Of Redis: the peer's own."""

app = Celery("peer_redbeat")
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=100,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    timezone="UTC",
)


@app.task(bind=True)
def fire(self: Any, key: int, due: float) -> None:
    fires.write(key, due, self.request.get("scheduler_pid"))


def note_scheduler(headers: dict[str, Any], **_: Any) -> None:
    """The takeover asks which beat sent a task."""
    headers["scheduler_pid"] = os.getpid()


def redis_url(given: Given) -> str:
    return urlunsplit(urlsplit(given.redis_url)._replace(path=f"/{DATABASE}"))


def configure(given: Given) -> None:
    app.conf.broker_url = redis_url(given)
    app.conf.redbeat_redis_url = redis_url(given)


def install(given: Given) -> None:
    Redis.from_url(redis_url(given)).flushdb()


def enqueue(given: Given) -> None:
    configure(given)
    client = Redis.from_url(redis_url(given))
    for index in range(given.count):
        due = given.instant(index)
        last = datetime.fromtimestamp(due, UTC) - timedelta(seconds=DAY_SECONDS)
        entry = RedBeatSchedulerEntry(
            f"once-{index}", fire.name, schedule(DAY_SECONDS), args=[index, due], app=app, last_run_at=last
        ).save()
        client.zadd(app.redbeat_conf.schedule_key, {entry.key: int(due)})


def work(given: Given) -> None:
    """Number 0 is the worker, the others are beats."""
    configure(given)
    if given.number == 0:
        ready(given)
        options = [f"--concurrency={given.size or 2}", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        app.worker_main(["worker", "--loglevel=ERROR", *options])
        return
    if given.mode == "takeover":
        before_task_publish.connect(note_scheduler, weak=False)
        last = datetime.fromtimestamp(given.due - given.period, UTC)
        for key in range(given.schedules):
            RedBeatSchedulerEntry(
                f"tick-{key}", fire.name, schedule(given.period), args=[key, 0], app=app, last_run_at=last
            ).save()
    else:
        app.conf.beat_max_loop_interval = LONGEST_SLEEP_SECONDS
        app.conf.redbeat_lock_timeout = LOCK_SECONDS
    ready(given)
    app.Beat(scheduler_cls=RedBeatScheduler, loglevel="ERROR", quiet=True).run()


def counter(given: Given) -> Callable[[], int]:
    return fires.count

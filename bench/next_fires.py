"""What it costs to say when a job fires next: 100,000 jobs of every type, in several zones, one after the other.

`next_fires` reads the definition anew each time, as the command line and the API do; a leader that
holds a job keeps its schedule and asks only that (`next_after`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.sizes import Sizes
from scheduler_core import ScheduleJob, next_fires
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.stage import Servers
from scheduler_core.domain.schedule.base import Schedule

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Seoul", "Africa/Casablanca", "Australia/Lord_Howe")
NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)


async def measure(_servers: Servers, sizes: Sizes) -> list[Figure]:
    """Microseconds per job: to make one, for its next fire, for its next ten, and from a kept schedule."""
    draw, count = random.Random("next_fires"), sizes.computed_jobs
    fields = [_fields(draw) for _ in range(count)]
    jobs: list[ScheduleJob] = []
    schedules: list[Schedule] = []
    works: dict[str, tuple[str, Callable[[], object]]] = {
        "make_us": (
            "a ScheduleJob made",
            lambda: jobs.extend(ScheduleJob(f"job-{n}", "Job", **given) for n, given in enumerate(fields)),
        ),
        "next_fires_1_us": ("next_fires(job, now, 1)", lambda: [next_fires(job, NOW, 1) for job in jobs]),
        "next_fires_10_us": ("next_fires(job, now, 10)", lambda: [next_fires(job, NOW, 10) for job in jobs]),
        "schedule_us": (
            "a schedule read from its definition",
            lambda: schedules.extend(job.definition("UTC").schedule(NOW) for job in jobs),
        ),
        "next_after_us": (
            "the next instant of a kept schedule",
            lambda: [schedule.next_after(NOW) for schedule in schedules],
        ),
    }
    note = f"mean over {count:,} jobs of every type"
    return [
        Figure(f"next_fires.{key}", says, _clock(work, count), "µs", note=note) for key, (says, work) in works.items()
    ]


def _clock(work: Callable[[], object], count: int) -> float:
    """Microseconds per job."""
    began = time.perf_counter()
    work()
    return round((time.perf_counter() - began) / count * 1e6, 2)


def _fields(draw: random.Random) -> dict[str, Any]:
    minute, hour = draw.randrange(60), draw.randrange(24)
    kind, value = draw.choice(
        [
            ("interval", draw.randint(1, 86_400)),
            ("daily", f"{hour:02}:{minute:02}"),
            ("daily", [f"{hour:02}:{minute:02}", f"{(hour + 12) % 24:02}:{minute:02}"]),
            ("once", (NOW + timedelta(seconds=draw.randrange(10**7))).isoformat()),
            ("cron", f"*/{draw.randint(1, 30)} * * * *"),
            ("cron", f"{minute} {hour} * * MON-FRI"),
            ("cron", f"{minute} {hour} {draw.randint(1, 28)} * *"),
            ("cron", f"{draw.randrange(60)} {minute} {hour} L * *"),
            ("cron", f"{minute} {hour} * {draw.randint(1, 12)} {draw.randrange(7)}#{draw.randint(1, 4)}"),
        ]
    )
    return {"schedule_type": kind, "schedule_value": value, "callback": "app:work", "timezone": draw.choice(ZONES)}

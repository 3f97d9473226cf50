"""What it costs to say when a job fires next: 100,000 jobs of every type, in several zones, one after the other.

Needs no servers. `next_fires` reads the definition anew each time, as the command line and the API do; a leader that
holds a job keeps its schedule and asks only that (`next_after`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler_core import ScheduleJob, next_fires

JOBS = 100_000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Seoul", "Africa/Casablanca", "Australia/Lord_Howe")
NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)


def measure() -> dict[str, float]:
    """Returns microseconds per job: to make one, for its next fire, for its next ten, and from a kept schedule."""
    draw = random.Random("next_fires")
    fields = [_fields(draw) for _ in range(JOBS)]
    jobs: list[ScheduleJob] = []
    made = _clock(lambda: jobs.extend(ScheduleJob(f"job-{n}", "Job", **given) for n, given in enumerate(fields)))
    one = _clock(lambda: [next_fires(job, NOW, 1) for job in jobs])
    ten = _clock(lambda: [next_fires(job, NOW, 10) for job in jobs])
    schedules = [job.definition("UTC").schedule(NOW) for job in jobs]
    kept = _clock(lambda: [schedule.next_after(NOW) for schedule in schedules])
    return {
        "jobs": JOBS,
        "make_us": made,
        "next_fires_1_us": one,
        "next_fires_10_us": ten,
        "next_after_us": kept,
    }


def _clock(work: Callable[[], Any]) -> float:
    """Microseconds per job."""
    began = time.perf_counter()
    work()
    return round((time.perf_counter() - began) / JOBS * 1e6, 2)


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

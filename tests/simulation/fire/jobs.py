"""The jobs of a simulated service, one for each policy that a fire goes by, and what their callbacks do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scheduler_core import RunContext, ScheduleJob

if TYPE_CHECKING:
    from .world import FireWorld

CRASHES = "simulated failure"

stage: list[FireWorld] = []
"""The world that is being played: a callback is a plain function, and finds it here."""


class SimulatedFailureError(Exception):
    """What a callback raises on purpose."""


async def work(ctx: RunContext) -> None:
    """Takes a while, and sometimes fails."""
    world = stage[0]
    world.record.called(ctx)
    seconds, fails = world.what_a_call_does(ctx.job_id)
    try:
        if seconds:
            await asyncio.sleep(seconds)
        if fails:
            raise SimulatedFailureError(CRASHES)
    finally:
        world.record.returned(ctx)


def work_in_thread(ctx: RunContext) -> None:
    """The same, in a thread, which takes no time."""
    world = stage[0]
    world.record.called(ctx)
    world.record.returned(ctx)
    if world.what_a_call_does(ctx.job_id)[1]:
        raise SimulatedFailureError(CRASHES)


INTERVALS_SECONDS = {"plain": 1, "once_at_most": 1, "retried": 3, "long": 4, "threaded": 2, "all": 2, "removed": 2}

BUSY_SECONDS = {
    "plain": (0.0, 0.0, 0.05),
    "once_at_most": (0.0, 0.02, 0.6),
    "retried": (0.0, 0.1),
    "long": (1.0, 3.0),
    "all": (0.0, 0.3),
    "removed": (0.0, 0.1),
}
"""How long a call of each may take."""

FAILS = {"retried": 0.5, "threaded": 0.2, "once_at_most": 0.1}
"""How often."""


def jobs() -> Sequence[ScheduleJob]:
    """As each replica's code declares them."""

    def job(job_id: str, callback: object = work, **policies: object) -> ScheduleJob:
        return ScheduleJob(job_id, job_id, "interval", INTERVALS_SECONDS[job_id], callback, **policies)  # type: ignore[arg-type]

    return [
        job("plain"),
        job("once_at_most", delivery="at_most_once", max_retries=1, retry_delay=0.3),
        job("retried", max_retries=2, retry_delay=0.4, overlap="queue"),
        job("long", overlap="allow"),
        job("threaded", work_in_thread, max_retries=0),
        job("all", misfire="all", overlap="queue"),
        job("removed", delivery="at_most_once", overlap="allow"),
    ]

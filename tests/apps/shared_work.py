"""Jobs that any replica executes. Each call is written down with the process that made it."""

from __future__ import annotations

import asyncio
import os
import time

from scheduler_core import RunContext, job


def _witness(ctx: RunContext, word: str) -> None:
    line = f"{os.getpid()} {ctx.job_id} {ctx.scheduled_for.isoformat()} {word}\n"
    descriptor = os.open(os.environ["WITNESS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


async def work(ctx: RunContext) -> None:
    """Work for a moment."""
    _witness(ctx, "began")
    await asyncio.sleep(float(os.environ.get("WORK_SECONDS", "0.01")))
    _witness(ctx, "ended")


def work_in_thread(ctx: RunContext) -> None:
    """Work for a moment, in a thread."""
    _witness(ctx, "began")
    time.sleep(0.01)
    _witness(ctx, "ended")


for number in range(int(os.environ.get("WORK_JOBS", "10"))):
    job(f"shared-{number}", every=0.25, executor="replicas", overlap="queue" if number % 2 else "skip")(work)
job("threaded", every=0.25, executor="replicas", overlap="allow")(work_in_thread)
job("once-at-most", every=0.25, executor="replicas", delivery="at_most_once")(work)

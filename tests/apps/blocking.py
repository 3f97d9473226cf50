"""A callback that blocks the scheduler's loop for BLOCKED_SECONDS, beside a job that ticks."""

import asyncio
import os
import time

from replicas import witness

from scheduler_core import RunContext, job


@job("blocks", once=None, misfire_grace=3600)
async def block() -> None:
    """Async, and yet it never awaits: what users do by mistake."""
    await asyncio.sleep(1)
    witness(f"blocks {os.getpid()}")
    time.sleep(float(os.environ["BLOCKED_SECONDS"]))  # noqa: ASYNC251 - that is the point
    witness(f"returned {os.getpid()}")


@job("tick", every=0.05)
async def tick(ctx: RunContext) -> None:
    """Shows who fires, and when."""
    witness(f"tick {ctx.scheduled_for.isoformat()} {ctx.term} {os.getpid()}")

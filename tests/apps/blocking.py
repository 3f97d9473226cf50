"""A callback that blocks the scheduler's loop once, for BLOCKED_SECONDS, beside a job that ticks."""

import asyncio
import os
import time
from pathlib import Path

from replicas import witness

from scheduler_core import RunContext, job

BEGUN = Path(os.environ["WITNESS_FILE"] + ".blocked")


@job("blocks", once=None, misfire_grace=3600)
async def block() -> None:
    """Async, and yet it never awaits: what users do by mistake."""
    await asyncio.sleep(1)
    try:
        BEGUN.touch(exist_ok=False)  # noqa: ASYNC240 - it blocks a moment later anyway
    except FileExistsError:
        return
    witness(f"blocks {os.getpid()}")
    time.sleep(float(os.environ["BLOCKED_SECONDS"]))  # noqa: ASYNC251 - that is the point
    witness(f"returned {os.getpid()}")


@job("tick", every=0.05)
async def tick(ctx: RunContext) -> None:
    """Shows who fires, and when."""
    witness(f"tick {ctx.scheduled_for.isoformat()} {ctx.term} {os.getpid()}")

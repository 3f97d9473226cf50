"""A service whose requests add jobs: its replicas declare none of them, and define the function that they call."""

from __future__ import annotations

from replicas import witness

from scheduler_core import RunContext


async def sync(ctx: RunContext, number: int) -> None:
    """One customer's."""
    witness(f"{ctx.job_id} {number}")

"""A job in a time zone that older zone data lack; declared where IN_ZONE is set."""

import os

from replicas import witness

from scheduler_core import RunContext, job

ZONE = "America/Coyhaique"


async def in_zone(ctx: RunContext) -> None:
    """Say that it was called."""
    witness(f"in_zone {os.getpid()} {ctx.scheduled_for.isoformat()}")


@job("tick", every=0.2, misfire="all")
async def tick() -> None:
    """For both."""


if os.environ.get("IN_ZONE"):
    job("in_zone", cron="* * * * * *", timezone=ZONE, misfire="all", misfire_grace=60)(in_zone)

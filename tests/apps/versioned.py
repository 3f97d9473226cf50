"""A service before and after a deploy: DEPLOYED_VERSION 2 edits each job and brings a new one along."""

import os

from replicas import witness

from scheduler_core import RunContext, job

VERSION = int(os.environ.get("DEPLOYED_VERSION", "1"))


async def tick(ctx: RunContext) -> None:
    """Fires all through the deploy."""
    witness(f"{ctx.job_id} {ctx.scheduled_for.isoformat()} {VERSION}")


for number in range(5):
    job(f"tick-{number}", every=0.05, name=f"tick of version {VERSION}", max_retries=VERSION)(tick)

if VERSION > 1:

    @job("newcomer", every=0.2)
    async def newcomer(ctx: RunContext) -> None:
        """Old code can't call this."""
        witness(f"newcomer {ctx.scheduled_for.isoformat()} {VERSION}")

"""Ten jobs that fire twenty times a second and write down each call."""

import time

from replicas import witness

from scheduler_core import RunContext, job


async def tick(ctx: RunContext) -> None:
    witness(f"{ctx.job_id} {ctx.scheduled_for.isoformat()} {ctx.attempt} {ctx.term} {time.time()}")


for number in range(10):
    job(f"tick-{number}", every=0.05)(tick)

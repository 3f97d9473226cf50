"""Jobs under every policy that a restore meets; each writes down what it was called for, and under which term."""

import asyncio

from replicas import witness

from scheduler_core import RunContext, job


async def tick(ctx: RunContext) -> None:
    witness(f"{ctx.idempotency_key} {ctx.term}")


for number in range(4):
    job(f"tick-{number}", every=0.25)(tick)

job("every-one", every=0.5, misfire="all", overlap="queue")(tick)
job("none", every=0.5, misfire="skip", misfire_grace=0.2)(tick)
job("at-most-once", every=0.25, delivery="at_most_once")(tick)


@job("lasts", every=1.0)
async def lasts(ctx: RunContext) -> None:
    await tick(ctx)
    await asyncio.sleep(0.9)

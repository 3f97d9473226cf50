"""A thousand innocent jobs and one that kills its replica, each time, all due at the same instant."""

import os
import signal

from replicas import witness

from scheduler_core import RunContext, job

INNOCENTS = 1_000
DELIVERY = os.environ["DELIVERY"]


async def innocent(ctx: RunContext) -> None:
    witness(ctx.job_id)


def killer(ctx: RunContext) -> None:
    witness(ctx.job_id)
    os.kill(os.getpid(), signal.SIGKILL)


for number in range(INNOCENTS):
    job(f"innocent-{number}", once=os.environ["AT"], delivery=DELIVERY)(innocent)
job("killer", once=os.environ["AT"], delivery=DELIVERY)(killer)

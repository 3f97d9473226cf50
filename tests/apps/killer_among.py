"""Innocent jobs and one that ends its replica, each time, all due at the same instant: by SIGKILL, or as ENDS says.

By MUTANT, in a replica whose code has one line switched off: a test must notice.
"""

import asyncio
import os
import signal

from replicas import witness

from scheduler_core import RunContext, job
from scheduler_core.domain.runs.begin import Begin
from scheduler_core.engine.fire import attempts
from scheduler_core.engine.fire.start_gate import StartGate

match os.environ.get("MUTANT"):
    case "no gate":
        StartGate._admits = lambda self, begin: True  # type: ignore[method-assign]
    case "no care":
        attempts.begin_of = lambda run, delivery: Begin.FREELY

INNOCENTS = int(os.environ["INNOCENTS"])
DELIVERY = os.environ["DELIVERY"]


async def innocent(ctx: RunContext) -> None:
    witness(ctx.job_id)


def killer(ctx: RunContext) -> None:
    witness(ctx.job_id)
    os.kill(os.getpid(), signal.SIGKILL)


async def cancels_everything(ctx: RunContext) -> None:
    witness(ctx.job_id)
    for task in asyncio.all_tasks():
        task.cancel()


for number in range(INNOCENTS):
    job(f"innocent-{number}", once=os.environ["AT"], delivery=DELIVERY)(innocent)
job("a-killer", once=os.environ["AT"], delivery=DELIVERY, executor=os.environ.get("EXECUTOR", "local"))(
    globals()[os.environ.get("ENDS", "killer")]
)

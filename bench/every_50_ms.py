"""Ten jobs that fire twenty times a second, and write each call into a file, for `bench.sentinel`."""

import os

from scheduler_core import RunContext, job


async def tick(ctx: RunContext) -> None:
    file = os.open(os.environ["BENCH_CALLS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, f"{ctx.job_id} {ctx.scheduled_for.isoformat()}\n".encode())
    os.close(file)


for number in range(10):
    job(f"tick-{number}", every=0.05)(tick)

"""Jobs whose callbacks another process calls: by the executor that the variable EXECUTOR names."""

import asyncio
import os
import signal
import time
from pathlib import Path

from replicas import witness

from scheduler_core import RunContext, job

EXECUTOR = os.environ["EXECUTOR"]
RELEASE = Path(os.environ["WITNESS_FILE"] + ".release")


def say(ctx: RunContext) -> None:
    witness(f"{ctx.job_id} {ctx.attempt} {os.getpid()}")


@job("plain", once=None, executor=EXECUTOR)
def plain(ctx: RunContext) -> None:
    """Called in a thread of the worker."""
    say(ctx)


@job("coroutine", once=None, executor=EXECUTOR, use_distributed_lock=True, lock_key=os.environ["WITNESS_FILE"])
async def coroutine(ctx: RunContext) -> None:
    """Called in the worker's loop, under a lock."""
    say(ctx)
    await asyncio.sleep(0)


@job("fails", once=None, executor=EXECUTOR, max_retries=2, retry_delay=0.1)
def fails(ctx: RunContext) -> None:
    """Fails twice."""
    say(ctx)
    if ctx.attempt < 3:
        raise ConnectionError("not yet")


@job("hopeless", once=None, executor=EXECUTOR, max_retries=1, retry_delay=0.1)
def hopeless() -> None:
    """Fails as often as it may."""
    raise ValueError("never")


@job("slow", once=None, executor=EXECUTOR, timeout=0.3, max_retries=0)
async def slow() -> None:
    """Runs into its time limit."""
    await asyncio.sleep(60)


@job("lasts", once="2099-01-01T00:00:00+00:00", executor=EXECUTOR)
async def lasts(ctx: RunContext) -> None:
    """Ends once the test lets it."""
    say(ctx)
    while not RELEASE.exists():  # noqa: ASYNC110, ASYNC240 - a test's own file
        await asyncio.sleep(0.02)


job("many", once="2099-01-01T00:00:00+00:00", executor=EXECUTOR, overlap="allow")(lasts)


@job("here", once="2099-01-01T00:00:00+00:00")
def here(ctx: RunContext) -> None:
    """Called by the leader itself."""
    say(ctx)


@job(
    "patient",
    once="2099-01-01T00:00:00+00:00",
    executor=EXECUTOR,
    max_retries=1,
    retry_delay=3600,
    retry_max_delay=3600,
)
def patient(ctx: RunContext) -> None:
    """Fails, and waits for an hour."""
    say(ctx)
    raise ConnectionError("not yet")


@job("suicidal", once="2099-01-01T00:00:00+00:00", executor=EXECUTOR, max_retries=1, retry_delay=0.1)
def suicidal(ctx: RunContext) -> None:
    """Takes its worker along, the first time."""
    say(ctx)
    if ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@job("suicidal-once", once="2099-01-01T00:00:00+00:00", executor=EXECUTOR, delivery="at_most_once")
def suicidal_once(ctx: RunContext) -> None:
    """Takes its worker along."""
    say(ctx)
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)

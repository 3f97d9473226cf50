"""Jobs whose replica dies while they run."""

import os
import signal
import time
from pathlib import Path

from replicas import witness

from scheduler_core import RunContext, job

FIRST_TIME_MARKER = Path(os.environ["WITNESS_FILE"] + ".first")


def linger(ctx: RunContext) -> None:
    """Lasts until its replica is killed, the first time; later it ends at once."""
    witness(f"{ctx.job_id} {ctx.attempt} {os.getpid()}")
    marker = FIRST_TIME_MARKER.with_suffix(f".{ctx.job_id}")
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    time.sleep(3600)


job("lingers", once=None)(linger)
job("lingers-once", once=None, delivery="at_most_once")(linger)
job("lingers-locked", once=None, use_distributed_lock=True, lock_key=os.environ["WITNESS_FILE"], lock_ttl=600)(linger)


@job("suicidal", once="2099-01-01T00:00:00+00:00")
def suicidal(ctx: RunContext) -> None:
    """Takes its replica along, each time."""
    witness(f"suicidal {ctx.attempt} {os.getpid()}")
    time.sleep(0.6)
    os.kill(os.getpid(), signal.SIGKILL)


@job("waits-to-retry", once=None, max_retries=5, retry_delay=4)
def fails(ctx: RunContext) -> None:
    """Fails twice, so that a successor carries on with its count."""
    witness(f"waits-to-retry {ctx.attempt} {os.getpid()}")
    if ctx.attempt <= 1:
        raise ConnectionError("not yet")

"""A job whose callback forks a child that outlives it, beside one that ticks."""

import os
import time

from replicas import witness

from scheduler_core import job


@job("forks", once=None)
def forks() -> None:
    """Leaves a child behind that was forked without exec, as multiprocessing does."""
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    witness(f"child {child}")


@job("tick", every=0.05)
def tick() -> None:
    """Shows who fires."""

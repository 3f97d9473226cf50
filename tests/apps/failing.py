"""A job that fails each time while the file FAILS_WHILE exists, beside one that ticks."""

import os
from pathlib import Path

from scheduler_core import job

FAILS_WHILE = Path(os.environ["WITNESS_FILE"] + ".fails")


@job("fragile", every=0.25, max_retries=0)
def fragile() -> None:
    if FAILS_WHILE.exists():
        raise ConnectionError("the warehouse does not answer")


@job("tick", every=0.1)
async def tick() -> None:
    """Shows that fires go on."""

"""One run that lasts until the test lets it end."""

import asyncio
import os
from pathlib import Path

from replicas import witness

from scheduler_core import job


@job("lasting", once=None)
async def lasting() -> None:
    """Says that it has begun, and waits for the file that releases it."""
    witness("lasting")
    while not Path(f"{os.environ['WITNESS_FILE']}.release").exists():  # noqa: ASYNC110, ASYNC240 - a test's own file
        await asyncio.sleep(0.02)

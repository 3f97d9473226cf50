"""A run that does not let its event loop go on."""

import time

from replicas import witness

from scheduler_core import job


@job("wedged", once=None)
async def wedged() -> None:
    """Blocks the loop, as a forgotten sync call does."""
    witness("wedged")
    time.sleep(120)  # noqa: ASYNC251 - the point of it

"""For applications of others: a replica that lives as long as the application does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from scheduler_core.service import SchedulerService


@asynccontextmanager
async def scheduler_lifespan(_app: Any = None) -> AsyncIterator[None]:
    """Start this process's replica with the jobs that `@job` declared, and stop it with the application.

    `FastAPI(lifespan=scheduler_lifespan)`, or `async with scheduler_lifespan(app):` inside a lifespan of your own;
    then `app.mount("/scheduler", create_app())`.
    Raises what `SchedulerService.start` raises: ServerUnreachableError, SchemaError.
    """
    SchedulerService.init()
    try:
        await SchedulerService.start()
        yield
    finally:
        await SchedulerService.shutdown()

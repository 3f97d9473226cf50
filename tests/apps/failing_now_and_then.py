"""One job that succeeds, one that fails for good after a retry, one that blocks the loop now and then."""

import time

from scheduler_core import RunContext, job


@job("well", every=0.2)
async def well() -> None: ...


@job("ill", every=0.5, max_retries=1, retry_delay=0.01)
async def ill(ctx: RunContext) -> None:
    ctx.logger.warning("about to fail")
    raise ValueError("no")


@job("blocking", every=1)
async def blocking() -> None:
    time.sleep(0.2)  # noqa: ASYNC251 - that is what it is for

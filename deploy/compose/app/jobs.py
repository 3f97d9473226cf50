"""The jobs of the Compose file: put yours here."""

import logging

from scheduler_core import RunContext, job


@job("heartbeat", every=5)
async def heartbeat(ctx: RunContext) -> None:
    """Say that it fired, and in which term."""
    logging.getLogger("scheduler_core").info("heartbeat of %s, term %d", ctx.scheduled_for.isoformat(), ctx.term)

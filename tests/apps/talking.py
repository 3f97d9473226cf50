"""Callbacks that log, through loggers of their own, in the loop and in a thread, and trace what they do."""

import asyncio
import logging

from scheduler_core import RunContext, job

logger = logging.getLogger("somebody.elses")


def say(what: str) -> None:
    """One line, in a span of its own where this process traces."""
    try:
        from opentelemetry import trace
    except ImportError:
        logger.warning(what)
        return
    with trace.get_tracer("somebody.elses").start_as_current_span("say"):
        logger.warning(what)


@job("in_loop", every=0.3)
async def in_loop() -> None:
    """Says it in a task of its own."""
    await asyncio.create_task(asyncio.to_thread(say, "from the loop"))


@job("in_thread", every=0.3)
def in_thread() -> None:
    """Says it in the thread that the scheduler gave it."""
    say("from a thread")


@job("retried", once=None, max_retries=1, retry_delay=0.01)
async def retried(ctx: RunContext) -> None:
    """Fails once, with a line that holds whatever a line may hold."""
    ctx.logger.warning('attempt "%d"\nsays \x00 %s', ctx.attempt, "ü\ud800")
    if ctx.attempt == 1:
        try:
            raise ValueError("the first attempt fails")
        except ValueError:
            logger.exception("on purpose", extra={"shoe_size": 43})
            raise

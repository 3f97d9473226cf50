"""The jobs that `scheduler dev` shows: on time, retried, in a thread, by cron, at most once."""

from __future__ import annotations

import asyncio
import random
import time

from scheduler_core.domain.runs.run import RunContext
from scheduler_core.service import job


@job("heartbeat", every=1, name="Heartbeat, each second")
async def heartbeat() -> None:
    """Does nothing, on time."""


@job("metrics-rollup", every=2, name="Roll up metrics", tags=["demo"])
async def metrics_rollup() -> None:
    """Waits a moment, as real work does."""
    await asyncio.sleep(0.05)


@job("flaky-import", every=5, name="Import that fails now and then", max_retries=3, retry_delay=0.5)
async def flaky_import(ctx: RunContext) -> None:
    """Fails at its first attempts, so that retries and their history can be seen."""
    if ctx.attempt < random.choice((1, 2, 3)):
        raise ConnectionError("the upstream hung up")


@job("thumbnails", every=3, name="Thumbnails, in a thread", timeout=10)
def thumbnails() -> None:
    """A sync callback: it runs in a thread and blocks nobody."""
    time.sleep(0.2)


@job("invoices", cron="* * * * *", name="Invoices, each minute", delivery="at_most_once")
async def invoices(ctx: RunContext) -> None:
    """At most once, and with a key that the receiver can refuse a second time."""
    ctx.logger.debug("invoice run %s", ctx.idempotency_key)


@job("daily-report", daily="14:30", name="Daily report")
async def daily_report() -> None:
    """Once a day."""

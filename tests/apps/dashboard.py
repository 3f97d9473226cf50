"""What the dashboard's tests look at: jobs that run, fail, wait and last, some with names that would break a page."""

from __future__ import annotations

import asyncio

from scheduler_core import RunContext, job

EVIL = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
EVIL_ID = "a/b?x=1&y=2#\"'><svg onload=window.hacked=1>"


@job("heartbeat", every=1, name="Heartbeat, each second")
async def heartbeat() -> None:
    """Does nothing, on time."""


@job("orders-import", every=3, name="Import orders", max_retries=1, retry_delay=0.1, tags=["orders", "nightly"])
async def import_orders() -> None:
    """Fails, and its error would be a script."""
    raise ConnectionError(f"the shop hung up: {EVIL} 'quoted' & \"double\"")


@job("close-ledger", cron="0 18 * * MON-FRI", timezone="Europe/Berlin", name="Close the ledger", tags=["finance"])
async def close_ledger() -> None:
    """Once a day."""


@job("long-report", cron="0 3 * * SUN", name="A report that takes long")
async def long_report(ctx: RunContext) -> None:
    """Lasts until somebody cancels it."""
    ctx.logger.info("run %s lasts", ctx.run_id)
    await asyncio.sleep(600)


@job("invoices", cron="*/5 * * * *", name="Invoices", delivery="at_most_once")
async def invoices() -> None:
    """At most once."""


@job("rollup", every=60, name="Roll up metrics", tags=["metrics"])
async def rollup() -> None:
    """To be edited."""


@job("mirror", cron="*/5 * * * *", name="Mirror the catalogue")
async def mirror() -> None:
    """To be backfilled."""


@job(EVIL_ID, daily="04:00", name=EVIL)
async def evil() -> None:
    """Its id and its name would be scripts."""

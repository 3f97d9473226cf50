"""What keeps jobs from firing on purpose: calendars, and pauses."""

from __future__ import annotations

import asyncio
from typing import Any

from scheduler_core.web.pages.view import Asked, View

DATES_SHOWN = 6


async def read(asked: Asked) -> dict[str, Any]:
    calendars, held = await asyncio.gather(
        asked.container.get_storage().calendars.listed(limit=200), asked.container.get_listings().held_jobs()
    )
    today = f"{asked.now:%Y-%m-%d}"
    for row in calendars:
        dates = row["excluded_dates"] if isinstance(row["excluded_dates"], dict) else {}
        come = sorted(day for day in dates if day >= today)
        row["coming"] = [(day, dates[day]) for day in come[:DATES_SHOWN]]
        row["coming_count"] = len(come)
        row["date_count"] = len(dates)
    return {"calendars": calendars, "held": held}


VIEW = View("calendars", "/calendars", lambda _values: "Calendars and pauses", read, section="calendars")

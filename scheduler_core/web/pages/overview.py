"""The first screen: does it fire, does it fail, is it late, who leads, what is wrong."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from scheduler_core.domain.situation import COUNTED_AT_MOST
from scheduler_core.web.pages.activity import BUCKET_SECONDS, WINDOW_SECONDS
from scheduler_core.web.pages.view import Asked, View, terms_of

FAILURES_WITHIN = timedelta(hours=1)
MOST_ALARMS = 20
BUCKETS_PER_MINUTE = 60 // BUCKET_SECONDS


async def read(asked: Asked) -> dict[str, Any]:
    store = asked.container.get_activity()
    _, overdue, failures, counts, terms, alarms = await asyncio.gather(
        asked.activity.look(store, asked.now),
        store.overdue(),
        store.failures(asked.now - FAILURES_WITHIN),
        store.counts(),
        terms_of(asked.container, None, 5),
        asked.container.get_alarms().listed(limit=MOST_ALARMS + 1),
    )
    series = asked.activity.series(asked.now)
    minute = series[-BUCKETS_PER_MINUTE:]
    return {
        "fires_per_second": sum(row["fires"] for row in minute) / 60,
        "failed": sum(row["failed"] for row in series),
        "missed": sum(row["missed"] for row in series),
        "p50": _worst(minute, "p50"),
        "p99": _worst(minute, "p99"),
        "series": series,
        "chart": [
            [row["bucket"] for row in series],
            [row["fires"] / BUCKET_SECONDS for row in series],
            [row["failed"] / BUCKET_SECONDS or None for row in series],
        ],
        "lateness_chart": [
            [row["bucket"] for row in series],
            [_milliseconds(row["p50"]) for row in series],
            [_milliseconds(row["p99"]) for row in series],
        ],
        "is_whole": asked.activity.is_whole(asked.now),
        "window_minutes": WINDOW_SECONDS // 60,
        "overdue": overdue,
        "failures": failures,
        "counts": counts,
        "most": COUNTED_AT_MOST,
        "terms": terms.items,
        "alarms": alarms[:MOST_ALARMS],
        "are_all_alarms": len(alarms) <= MOST_ALARMS,
    }


def _worst(rows: list[dict[str, Any]], name: str) -> float | None:
    """The largest of a percentile's values: that of all of them together is not above it."""
    values = [row[name] for row in rows if row[name] is not None]
    return max(values, default=None)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


VIEW = View("overview", "/", lambda _values: "Overview", read, section="overview")

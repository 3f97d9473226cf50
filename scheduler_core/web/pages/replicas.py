"""Replicas, and who led when: a timeline of terms with the gaps in which nobody did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scheduler_core.web.pages.view import Asked, View, terms_of

WINDOWS = {
    "10m": ("10 minutes", timedelta(minutes=10)),
    "1h": ("1 hour", timedelta(hours=1)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
}
MOST_TERMS = 200
MOST_LANES = 8
WIDTH = 1000.0
"""Of the picture, in its own units."""
LANE_HEIGHT = 26
LEAST_WIDTH = 2.0
"""A term that was short is drawn this wide: it is there."""
TICKS = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """One term in the picture."""

    term: int
    instance_id: str
    lane: int
    x: float
    width: float
    row: dict[str, Any]


async def read(asked: Asked) -> dict[str, Any]:
    window = asked.choice("window", {name: words for name, (words, _) in WINDOWS.items()}) or "1h"
    replicas, recent, page = await asyncio.gather(
        asked.container.get_activity().replicas(),
        terms_of(asked.container, None, MOST_TERMS),
        terms_of(asked.container, asked.value("before"), 20),
    )
    start = asked.now - WINDOWS[window][1]
    bars, lanes = timeline(recent.items, start, asked.now)
    return {
        "replicas": replicas,
        "alive": sum(row["alive"] for row in replicas),
        "page": page,
        "before": asked.values["before"],
        "bars": bars,
        "lanes": lanes,
        "lane_height": LANE_HEIGHT,
        "ticks": [(WIDTH * k / TICKS, start + (asked.now - start) * k / TICKS) for k in range(TICKS + 1)],
        "window": window,
        "windows": {name: words for name, (words, _) in WINDOWS.items()},
    }


def timeline(terms: list[dict[str, Any]], start: datetime, now: datetime) -> tuple[list[Bar], list[str]]:
    """The bars of the terms that reach into [start, now], and the replicas whose lanes they lie in.

    Those that led last have a lane; where more led than there are lanes, the others share the last one.
    """
    length = (now - start).total_seconds()
    seen = [row for row in terms if (row["ended_at"] or now) >= start and row["acquired_at"] <= now]
    lanes = list(dict.fromkeys(row["instance_id"] for row in seen))
    if len(lanes) > MOST_LANES:
        lanes = [*lanes[: MOST_LANES - 1], "others"]
    bars = []
    for row in reversed(seen):
        lane = lanes.index(row["instance_id"]) if row["instance_id"] in lanes else len(lanes) - 1
        x = max(0.0, (row["acquired_at"] - start).total_seconds()) / length * WIDTH
        end = min(length, ((row["ended_at"] or now) - start).total_seconds()) / length * WIDTH
        width = max(LEAST_WIDTH, end - x)
        bars.append(Bar(row["term"], row["instance_id"], lane, round(min(x, WIDTH - width), 2), round(width, 2), row))
    return bars, lanes


VIEW = View("replicas", "/replicas", lambda _values: "Replicas", read, ("window", "before"), section="replicas")

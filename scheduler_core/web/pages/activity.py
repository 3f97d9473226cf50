"""Fires, failures and lateness of the last quarter of an hour, kept by one reader for all who watch.

Counting a quarter of an hour anew each second would cost what a quarter of an hour fired. So it is kept in buckets:
each look reads what is fresh, and now and then one older stretch in turn, for what ended late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

BUCKET_SECONDS = 10
WINDOW_SECONDS = 900
STRETCH_SECONDS = 60
FRESH_SECONDS = 20
FRESH_FOR_SECONDS = 0.9
"""Who asks again within this gets what the last one got."""
FIRST_LOOK_SECONDS = 0.5
"""How long the first look may take to count what was before; the rest follows stretch by stretch."""
CATCH_UP_EVERY = 5
"""Once all is counted, an older stretch is counted again with every so many looks."""

_NOTHING: Mapping[str, Any] = {"fires": 0, "failed": 0, "skipped": 0, "missed": 0, "p50": None, "p99": None}


class ActivityReader(Protocol):
    """Reads what happened between two instants, by the bucket."""

    async def buckets(self, since: datetime, until: datetime, *, bucket_seconds: int) -> list[dict[str, Any]]: ...


@dataclass(slots=True)
class Activity:
    """The buckets of the last quarter of an hour, by their first second since 1970."""

    _buckets: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _stretches: dict[int, int] = field(default_factory=dict)
    _looks: int = 0
    _looked_at: float = float("-inf")
    _counted_to: int = 0
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self, store: ActivityReader, now: datetime) -> None:
        """Bring the buckets up to `now`, the database's time."""
        async with self._busy:
            begun = time.monotonic()
            if begun - self._looked_at < FRESH_FOR_SECONDS:
                return
            current = int(now.timestamp())
            self._looks += 1
            self._forget(current - WINDOW_SECONDS - BUCKET_SECONDS)
            if current - self._counted_to > FRESH_SECONDS - BUCKET_SECONDS:
                # Nobody looked for a while: what has happened since is not counted.
                self._stretches = {
                    at: look for at, look in self._stretches.items() if at + STRETCH_SECONDS <= self._counted_to
                }
            self._counted_to = current
            await self._count(store, _floor(current - FRESH_SECONDS, BUCKET_SECONDS), current + BUCKET_SECONDS)
            is_first = True
            while is_first or time.monotonic() - begun < FIRST_LOOK_SECONDS:
                stretch = self._stretch_to_count(current)
                if stretch is None:
                    break
                await self._count(store, stretch, stretch + STRETCH_SECONDS)
                self._stretches[stretch] = self._looks
                is_first = False
            self._looked_at = time.monotonic()

    def series(self, now: datetime) -> list[dict[str, Any]]:
        """One row per bucket of the window, the oldest first; the bucket that is not over yet is left out."""
        last = _floor(int(now.timestamp()), BUCKET_SECONDS)
        starts = range(last - WINDOW_SECONDS, last, BUCKET_SECONDS)
        return [{"bucket": start, **self._buckets.get(start, _NOTHING)} for start in starts]

    def is_whole(self, now: datetime) -> bool:
        """Whether every part of the window has been counted."""
        return all(stretch in self._stretches for stretch in _stretches(int(now.timestamp())))

    async def _count(self, store: ActivityReader, since: int, until: int) -> None:
        found = await store.buckets(
            datetime.fromtimestamp(since, UTC),
            datetime.fromtimestamp(until, UTC),
            bucket_seconds=BUCKET_SECONDS,
        )
        for start in range(since, until, BUCKET_SECONDS):
            self._buckets.pop(start, None)
        for row in found:
            self._buckets[row["bucket"]] = {name: row[name] for name in _NOTHING}

    def _stretch_to_count(self, current: int) -> int | None:
        """One that was never counted, the latest first; else, now and then, the one counted longest ago."""
        uncounted = [stretch for stretch in _stretches(current) if stretch not in self._stretches]
        if uncounted:
            return max(uncounted)
        if self._looks % CATCH_UP_EVERY or self._looks in self._stretches.values():
            return None
        return min(self._stretches, key=lambda stretch: self._stretches[stretch])

    def _forget(self, before: int) -> None:
        self._buckets = {start: row for start, row in self._buckets.items() if start >= before}
        self._stretches = {
            stretch: look for stretch, look in self._stretches.items() if stretch + STRETCH_SECONDS >= before
        }


def _floor(second: int, step: int) -> int:
    return second - second % step


def _stretches(current: int) -> range:
    """The stretches of the window that lie before what is fresh."""
    return range(_floor(current - WINDOW_SECONDS, STRETCH_SECONDS), current, STRETCH_SECONDS)


def window_start(now: datetime) -> datetime:
    """The first instant of the window that ends now."""
    return now - timedelta(seconds=WINDOW_SECONDS)

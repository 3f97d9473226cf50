"""The low watermark of what is due: the instant below which the last looks found nothing.

While somebody keeps a transaction open, each cursor that moves leaves a dead entry behind in the index of what is due,
below the living ones. A look from the beginning walks them all, and they are hundreds of thousands after minutes
(river #59). A look from the watermark walks none. It is a hint, and nothing that is promised rests on it: what becomes
due below it (a job that was added, resumed or edited) is told by a nudge, and what nobody told of is found by a look
from the beginning, which comes every second where it is cheap and rests in proportion where it is not.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

WHOLE_EVERY_SECONDS = 1.0
REST_PER_WORK = 20.0
"""A whole look rests so many times as long as it took: a twentieth of one session's time at the most."""

NUDGED_REST_PER_WORK = 5.0


class Watermark:
    """Where the next look begins. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._since: datetime | None = None
        self._excluding: frozenset[str] = frozenset()
        self._is_nudged = True
        self._whole_at = float("-inf")
        self._took_seconds = 0.0

    def nudge(self) -> None:
        """Something may be due below: look from the beginning soon."""
        self._is_nudged = True

    def forget(self) -> None:
        """Nothing is known: the next look is whole."""
        self._since = None

    def since(self, at: float, excluding: Collection[str]) -> datetime | None:
        """Where the look that begins `at` this time begins; None: from the beginning.

        Parameters: excluding, the jobs that it leaves out; one that it no longer does may be due since long.
        """
        leaves_out = frozenset(excluding)
        if self._excluding - leaves_out:
            self._since = None
        self._excluding = leaves_out
        rested = at - self._whole_at
        if self._is_nudged and rested >= NUDGED_REST_PER_WORK * self._took_seconds:
            return None
        if rested >= max(WHOLE_EVERY_SECONDS, REST_PER_WORK * self._took_seconds):
            return None
        return self._since

    def looked(
        self, since: datetime | None, began: float, ended: float, now: datetime, earliest: datetime | None
    ) -> None:
        """A look has been answered.

        Parameters: since, where it began; now, the database's time in it; earliest, when the first of the jobs that it
        found was due, None if it found none. What is due at its very instant only is not found before: so the mark is
        never above `now`.
        """
        if since is None:
            self._is_nudged = False
            self._whole_at, self._took_seconds = ended, ended - began
        self._since = now if earliest is None else min(now, earliest)

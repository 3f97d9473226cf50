"""What is to happen when an occurrence is late, overlaps another run, or loses its owner."""

from __future__ import annotations

from enum import StrEnum


class Misfire(StrEnum):
    """What becomes of occurrences that are planned more than `misfire_grace` late."""

    LATEST = "latest"
    """The latest one fires, the others are counted."""
    ALL = "all"
    """All fire, in order, at most `catch_up_limit` of them; older ones are counted."""
    SKIP = "skip"
    """All are counted, none fires."""


class Overlap(StrEnum):
    """What becomes of an occurrence that is due while the job's previous run still runs."""

    SKIP = "skip"
    """It is `skipped`."""
    ALLOW = "allow"
    """Both run."""
    QUEUE = "queue"
    """It waits until that has ended."""


class Delivery(StrEnum):
    """What becomes of a run whose owner died while it ran."""

    AT_LEAST_ONCE = "at_least_once"
    """It runs again on the successor."""
    AT_MOST_ONCE = "at_most_once"
    """It is `lost` and never runs again by itself."""

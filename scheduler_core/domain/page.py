"""A page of a listing, and the cursor that leads on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and what to ask with for those behind them; None: there are none."""

    items: list[dict[str, Any]]
    next_cursor: str | None


def page_from(rows: list[dict[str, Any]], limit: int, key: str) -> Page:
    """The rows of a page, of which one too many was asked for, to know whether there are more."""
    shown = rows[:limit]
    if len(rows) <= limit:
        return Page(shown, None)
    last = shown[-1][key]
    return Page(shown, last.isoformat() if isinstance(last, datetime) else str(last))

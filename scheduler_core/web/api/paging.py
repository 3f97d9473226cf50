"""Cursors: where a page ended, as text that nobody needs to understand."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from scheduler_core.domain.jobs.fields import check_name
from scheduler_core.web.problem import Problem

T = TypeVar("T")


def encode(value: str | int | UUID | datetime) -> str:
    """Where a page ended."""
    plain = value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def decode(cursor: str | None, read: Callable[[Any], T]) -> T | None:
    """Where the page before ended, None for the first page. Raises Problem for what is no cursor of this listing."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return read(json.loads(text))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Problem(422, "invalid-cursor", "the cursor is none of this listing: begin with the first page") from None


def page(rows: Sequence[dict[str, Any]], limit: int, key: str) -> dict[str, Any]:
    """A page of `limit` items, made of rows of which one more was asked for."""
    items = rows[:limit]
    return {"items": items, "next_cursor": encode(items[-1][key]) if len(rows) > limit else None}


def name(value: Any) -> str:
    """For `decode`."""
    found: str = check_name(value)
    return found


def number(value: Any) -> int:
    """For `decode`."""
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError
    return value


def instant(value: Any) -> datetime:
    """For `decode`."""
    found = datetime.fromisoformat(value)
    if found.tzinfo is None or not 1970 < found.year < 9998:
        raise ValueError
    return found

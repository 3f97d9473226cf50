"""How values are put into words: in error messages short, on one line, safe for any input; in JSON plain."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

_SHOWN_LENGTH = 80


def shown(value: object) -> str:
    """`value` as an error message shows it: its repr, at most about 80 characters, always encodable.

    Never fails, whatever the value: integers of more than 4,300 digits and broken `__repr__`s are named by
    type.
    """
    try:
        # Only a short head of a long text is shown, so only that much is escaped.
        text = repr(value[: _SHOWN_LENGTH + 1]) if type(value) is str else repr(value)
    except Exception:  # noqa: BLE001 - somebody else's __repr__ may raise anything
        return f"a value of type {type(value).__name__}"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\n", " ")
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "..."


def did_you_mean(name: object, names: Iterable[str], count: int = 1) -> str:
    """The nearest of `names` as " (did you mean 'x'?)", whatever the case; "" when none is near."""
    by_lower = {candidate.lower(): str(candidate) for candidate in names}
    near = difflib.get_close_matches(str(name)[:200].lower(), by_lower, n=count, cutoff=0.6)
    if not near:
        return ""
    return f" (did you mean {' or '.join(repr(by_lower[match]) for match in near)}?)"


def in_words(seconds: float) -> str:
    """A duration as people say it, in its two largest units: `0.4 ms`, `12 ms`, `3.2 s`, `47 s`, `2 h 5 min`, `4 d`.

    Parameters: seconds, not negative.
    """
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms" if seconds else "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    whole = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        amount, whole = divmod(whole, size)
        if amount or parts:
            parts.append((amount, unit))
    return " ".join(f"{amount} {unit}" for amount, unit in parts[:2] if amount)


def plain(value: Any) -> Any:
    """What JSON has no word for: instants as ISO 8601, durations as seconds."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)

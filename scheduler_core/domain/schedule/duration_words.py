"""Durations as other schedulers write them: read to say how many seconds they are, and not accepted."""

from __future__ import annotations

import re

_UNITS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
_PARTS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)
_ISO = re.compile(r"p(?:(\d+)w)?(?:(\d+)d)?(?:t(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?)?", re.ASCII)
_ISO_SECONDS = (604_800, 86_400, 3600, 60, 1)
_LONGEST = 50


def duration_seconds(text: str) -> float | None:
    """The seconds of `5m`, `1h30m`, `PT5M`, `every 5 minutes`, `rate(5 minutes)`; None for anything else."""
    plain = text.strip().lower()
    plain = plain.removeprefix("rate(").removesuffix(")").removeprefix("@").removeprefix("every").strip()
    if not plain or len(plain) > _LONGEST:
        return None
    if plain in _UNITS and not text[0].isdigit():
        return _UNITS[plain]
    if (iso := _ISO.fullmatch(plain)) is not None and any(iso.groups()):
        return _seconds(sum(float(part or 0) * unit for part, unit in zip(iso.groups(), _ISO_SECONDS, strict=True)))
    total, end = 0.0, 0
    while (part := _PARTS.match(plain, end)) is not None and part[2] in _UNITS:
        total, end = total + float(part[1]) * _UNITS[part[2]], part.end()
    return _seconds(total) if end == len(plain) else None


def _seconds(total: float) -> float:
    return round(total, 6)

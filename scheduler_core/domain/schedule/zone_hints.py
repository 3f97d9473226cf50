"""What to write instead of a time zone that there is not. A hint that misleads is worse than none.

What looks like an offset is told by what it means: `GMT+3` is three hours ahead of UTC to whoever writes it, and
`Etc/GMT-3` to the database, whose names under Etc have the sign of POSIX. What can be read either way is told so.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

from scheduler_core.support.zone_data import is_zone_name, zone_data

AN_IANA_NAME = "give an IANA name such as 'Europe/Berlin' or 'UTC'"

_ABBREVIATIONS: dict[str, tuple[str, ...]] = {
    "ACDT": ("Australia/Adelaide",),
    "ACST": ("Australia/Adelaide", "Australia/Darwin"),
    "ADT": ("America/Halifax",),
    "AEDT": ("Australia/Sydney",),
    "AEST": ("Australia/Sydney", "Australia/Brisbane"),
    "AKDT": ("America/Anchorage",),
    "AKST": ("America/Anchorage",),
    "AST": ("America/Halifax", "America/Puerto_Rico", "Asia/Riyadh"),
    "AWST": ("Australia/Perth",),
    "BRT": ("America/Sao_Paulo",),
    "BST": ("Europe/London", "Asia/Dhaka"),
    "CAT": ("Africa/Maputo",),
    "CDT": ("America/Chicago", "America/Havana"),
    "CEST": ("Europe/Berlin",),
    "CST": ("America/Chicago", "America/Costa_Rica", "Asia/Shanghai"),
    "EAT": ("Africa/Nairobi",),
    "EDT": ("America/New_York",),
    "EEST": ("Europe/Athens",),
    "GST": ("Asia/Dubai",),
    "HKT": ("Asia/Hong_Kong",),
    "ICT": ("Asia/Bangkok",),
    "IST": ("Asia/Kolkata", "Europe/Dublin", "Asia/Jerusalem"),
    "JST": ("Asia/Tokyo",),
    "KST": ("Asia/Seoul",),
    "MDT": ("America/Denver",),
    "MSK": ("Europe/Moscow",),
    "NDT": ("America/St_Johns",),
    "NST": ("America/St_Johns",),
    "NZDT": ("Pacific/Auckland",),
    "NZST": ("Pacific/Auckland",),
    "PDT": ("America/Los_Angeles",),
    "PKT": ("Asia/Karachi",),
    "PST": ("America/Los_Angeles", "Asia/Manila"),
    "SAST": ("Africa/Johannesburg",),
    "SGT": ("Asia/Singapore",),
    "TRT": ("Europe/Istanbul",),
    "WAT": ("Africa/Lagos",),
    "WEST": ("Europe/Lisbon",),
    "WIB": ("Asia/Jakarta",),
}
"""Where clocks go by an abbreviation. Several places share some, so that none of them is a zone's name."""

_SUMMER_TIMES: dict[str, str] = {
    "AEST-10AEDT": "Australia/Sydney",
    "AKST9AKDT": "America/Anchorage",
    "AST4ADT": "America/Halifax",
    "CET-1CEST": "Europe/Berlin",
    "CST6CDT": "America/Chicago",
    "EET-2EEST": "Europe/Athens",
    "EST5EDT": "America/New_York",
    "GMT0BST": "Europe/London",
    "MST7MDT": "America/Denver",
    "NST3:30NDT": "America/St_Johns",
    "NZST-12NZDT": "Pacific/Auckland",
    "PST8PDT": "America/Los_Angeles",
    "WET0WEST": "Europe/Lisbon",
}
"""POSIX's way to say where summer time is kept, by what comes before its rule."""

_PLACES: dict[int, str] = {
    -570: "Pacific/Marquesas",
    210: "Asia/Tehran",
    270: "Asia/Kabul",
    330: "Asia/Kolkata",
    345: "Asia/Kathmandu",
    390: "Asia/Yangon",
    525: "Australia/Eucla",
    570: "Australia/Darwin",
}
"""Minutes ahead of UTC → a place that has kept them, without summer time: no zone under Etc has a part of an hour."""

_OFFSET = re.compile(
    r"(?P<base>(?:Etc/)?(?:UTC|GMT|UCT|Zulu|Z)?) ?(?P<sign>[+-]?)(?P<hours>\d{1,2})(?::?(?P<minutes>[0-5]\d))?(?::00)?",
    re.ASCII | re.IGNORECASE,
)
_POSIX = re.compile(
    r"(?P<name>[A-Z]{3,}|<[^>]+>)(?P<sign>[+-]?)(?P<hours>\d{1,3})(?::?(?P<minutes>[0-5]\d))?"
    r"(?P<summer>(?:[A-Z]{3,}|<[^>]+>)[-+:0-9]*(?:,.*)?)?",
    re.ASCII | re.IGNORECASE,
)
_NOT_A_PLACE = re.compile(r"(Etc|SystemV|US|Brazil|Canada|Chile|Mexico)/|[^/]*$")
"""Names that are no good guess for one that is misspelt."""


def zone_hint(name: object) -> str:
    """What to write instead of `name`, as the second half of a sentence. Every name in it is a zone."""
    if not isinstance(name, str) or not name.strip() or len(name) > 200:
        return AN_IANA_NAME
    text = name.strip().replace("\u2212", "-").removeprefix(":")
    return next(filter(None, (rule(text) for rule in _RULES)), AN_IANA_NAME)


def _as_written_elsewhere(text: str) -> str | None:
    """The name of a zone, with a path before it, other capitals, or spaces."""
    if text.lower() in {"localtime", "local", "system", "host"}:
        return "what the host's is differs from host to host: name it"
    if text.upper() == "Z":
        return "give 'UTC'"
    plain = re.sub(r"^.*zoneinfo/|^(posix|right)/", "", text.replace("\\", "/"), flags=re.IGNORECASE)
    plain = plain.strip("/ ").replace(" ", "_")
    found = next((known for known in _names() if known.lower() == plain.lower()), None)
    return None if found is None else f"did you mean {found!r}?"


def _as_an_offset(text: str) -> str | None:
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    minutes = int(match["hours"]) * 60 + int(match["minutes"] or 0)
    base, sign = match["base"].upper(), match["sign"]
    if not sign and not base:
        return None
    if base == "ETC/GMT":
        # Whoever writes it knows these names, whose sign is the other way round.
        return _ahead(minutes if sign == "-" else -minutes)
    if not sign or base.startswith("ETC/"):
        return _either(minutes)
    return _ahead(-minutes if sign == "-" else minutes)


def posix_hint(text: str) -> str | None:
    """What to write instead of a value of TZ that describes clocks and does not name them; None for other values.

    There the sign is that of POSIX, whatever people mean by it: `UTC+3` is three hours behind UTC.
    """
    match = _POSIX.fullmatch(text)
    if match is None:
        return None
    return _as_a_rule(text) if match["summer"] else _ahead(_posix_minutes(match))


def _as_posix_has_it(text: str) -> str | None:
    match = _POSIX.fullmatch(text)
    if match is None:
        return None
    if match["summer"]:
        return _as_a_rule(text)
    ahead = _posix_minutes(match)
    kept = {_minutes_ahead(place) for place in _ABBREVIATIONS.get(match["name"].upper(), ())}
    return _ahead(ahead) if ahead in kept else _either(abs(ahead))


def _posix_minutes(match: re.Match[str]) -> int:
    minutes = int(match["hours"]) * 60 + int(match["minutes"] or 0)
    return minutes if match["sign"] == "-" else -minutes


def _as_a_rule(text: str) -> str:
    place = _SUMMER_TIMES.get(text.upper().partition(",")[0])
    return f"that describes clocks, and names none: name a place that keeps them{f', as {place!r}' if place else ''}"


def _as_an_abbreviation(text: str) -> str | None:
    places = _ABBREVIATIONS.get(text.upper())
    if places is None:
        return None
    shared = "an abbreviation that several places share" if len(places) > 1 else "an abbreviation"
    return f"that is {shared}: name a place, as {_alternatives(places)}"


def _as_windows_has_it(text: str) -> str | None:
    if not text.lower().endswith(" standard time"):
        return None
    from tzlocal.windows_tz import win_tz

    found = next((zone for name, zone in win_tz.items() if name.lower() == text.lower()), None)
    return None if found is None else f"that is what Windows calls {found!r}"


def _as_a_city(text: str) -> str | None:
    """A city without, or with another, continent before it."""
    city = text.replace(" ", "_").rpartition("/")[2].lower()
    found = [name for name in _names() if "/" in name and name.rpartition("/")[2].lower() == city]
    return f"did you mean {_alternatives(found[:3])}?" if found and not city.startswith(("gmt", "utc")) else None


def _as_misspelt(text: str) -> str | None:
    by_lower = {name.lower(): name for name in _names() if not _NOT_A_PLACE.match(name)}
    near = difflib.get_close_matches(text.lower(), by_lower, n=3, cutoff=0.8)
    return f"did you mean {_alternatives([by_lower[match] for match in near])}?" if near else None


_RULES: tuple[Callable[[str], str | None], ...] = (
    _as_written_elsewhere,
    _as_an_offset,
    _as_posix_has_it,
    _as_an_abbreviation,
    _as_windows_has_it,
    _as_a_city,
    _as_misspelt,
)


def _ahead(minutes: int) -> str:
    """What to write for a fixed number of minutes ahead of UTC."""
    if minutes == 0:
        return "give 'UTC'"
    name, span = _fixed(minutes), _span(minutes)
    if name is None:
        return f"no zone always is {span}: give the name of the place that is meant"
    if not name.startswith("Etc/"):
        return f"for {span} give the name of a place, as {name!r}"
    return f"for {span} give {name!r} (the sign of these names is reversed), or better a place's name"


def _either(minutes: int) -> str:
    """What to write where it can't be told whether ahead of or behind UTC is meant."""
    if minutes == 0:
        return "give 'UTC'"
    ways = [f"{name!r} for {_span(m)}" for m in (minutes, -minutes) if (name := _fixed(m)) is not None]
    return f"give {' or '.join(ways)}, or better a place's name" if ways else AN_IANA_NAME


def _fixed(minutes: int) -> str | None:
    name = f"Etc/GMT{-minutes // 60:+d}" if minutes % 60 == 0 else _PLACES.get(minutes)
    return name if name is not None and zone_data().load(name) is not None else None


def _span(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    amount = f"{hours}:{rest:02} h" if rest else f"{hours} h"
    return f"{amount} {'ahead of' if minutes > 0 else 'behind'} UTC"


def _minutes_ahead(place: str) -> int | None:
    """What the clocks of a place show beyond UTC when they keep no summer time."""
    from datetime import datetime

    zone = zone_data().load(place)
    if zone is None:
        return None
    offsets = [datetime(2026, month, 1, tzinfo=zone) for month in (1, 7)]
    least = min(offset for moment in offsets if (offset := moment.utcoffset()) is not None)
    return int(least.total_seconds()) // 60


def _names() -> Iterable[str]:
    return sorted(name for name in zone_data().names() if is_zone_name(name))


def _alternatives(names: Iterable[str]) -> str:
    return " or ".join(map(repr, names))

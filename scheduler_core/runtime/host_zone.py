"""The host's time zone: what jobs that name none mean by 14:30.

tzlocal finds the name, wherever this host keeps it; it is believed only if the clock that this process reads
(`time.localtime`) goes by it, now and over the year to either side. A wrong zone is hours off and says nothing, so
where none can be told for sure the setting `timezone` has to say it.
"""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzlocal

from scheduler_core.domain.errors import UnknownZoneError
from scheduler_core.domain.schedule.zone import find_zone
from scheduler_core.domain.schedule.zone_hints import posix_hint, zone_hint

SET_IT = "set the setting timezone (SCHEDULER_TIMEZONE), to Europe/Berlin for example"

_LOCALTIME = Path("/etc/localtime")
_TIMEZONE = Path("/etc/timezone")
_COMPARED_DAYS = 370
_COMPARED_EVERY_SECONDS = 6 * 3600
_LONG_PAST = range(946_684_800, 1_577_836_800, 7 * 86_400)
"""Weeks of the years 2000 to 2019: no release of the data says anything new of them."""

_HOUR = 3600


@dataclass(frozen=True, slots=True)
class HostZone:
    """What the host says of its time zone: its name and where that stands, or why nobody can tell."""

    name: str | None
    source: str
    problem: str | None = None


@lru_cache(maxsize=1)
def host_zone() -> HostZone:
    """The host's zone, looked for once."""
    return look_for_zone(time.time())


def look_for_zone(now: float) -> HostZone:
    """Look for the zone anew. `now` is an instant in seconds since 1970, around which it must fit the clock."""
    given = os.environ.get("TZ")
    found = _by_configuration() if given is None else _by_environment(given)
    if found.name is not None:
        return _checked(found.name, found.source, now)
    if found.problem is None and all(offset == 0 for _, offset in _offsets_of_clock(now)):
        # Nothing names a zone, as in a container without any: then the clock is that of UTC.
        return HostZone("UTC", f"{found.source}; its clock is that of UTC")
    return HostZone(None, found.source, found.problem or f"nothing names it: {SET_IT}")


def _by_environment(given: str) -> HostZone:
    """What TZ names. It may be a name, or a path to a zone's file; what only describes clocks names no zone."""
    source = f"TZ={given!r}"
    text = given.removeprefix(":")
    if not text:
        return HostZone("UTC", source)
    for path in (text, os.path.realpath(text)):
        # zoneinfo/Asia/Tokyo, below whatever folder the host keeps its zones in.
        parts = Path(path).parts
        for start in range(len(parts)):
            if (name := _known("/".join(parts[start:]))) is not None:
                return HostZone(name, source)
    hint = posix_hint(text) or zone_hint(text)
    return HostZone(None, source, f"TZ is {given!r}, and no time zone's name: {hint}; or {SET_IT}")


def _by_configuration() -> HostZone:
    try:
        name = tzlocal.get_localzone_name()
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        told = " ".join(str(error).split()).rstrip(".")
        return HostZone(None, "the host's configuration", f"{told}: put it right, or {SET_IT}")
    known = _known(name) if name else None
    if name and known is None:
        return HostZone(None, "the host's configuration", f"it is named {name!r}, which is no time zone: {SET_IT}")
    return HostZone(known, _where(known))


def _where(name: str | None) -> str:
    """Where the name stands, as far as that can be told."""
    if name is None:
        return "nothing on this host names a zone"
    if _LOCALTIME.is_symlink() and _LOCALTIME.resolve().as_posix().endswith(f"/{name}"):
        return str(_LOCALTIME)
    try:
        if _TIMEZONE.read_text(encoding="ascii").strip() == name:
            return str(_TIMEZONE)
    except (OSError, UnicodeDecodeError):
        pass
    return "the host's configuration"


def _known(name: str) -> str | None:
    try:
        return find_zone(name).name
    except UnknownZoneError:
        return None


def _checked(name: str, source: str, now: float) -> HostZone:
    """The zone, if the clock goes by it, or by an older release of it."""
    zone, clock = find_zone(name).info, list(_offsets_of_clock(now))
    found = _first_difference(zone, clock)
    if found is None or _goes_by_older_data(zone, clock):
        return HostZone(name, source)
    at, offset = found
    seen = datetime.fromtimestamp(at, UTC)
    problem = (
        f"the name {name!r} stands in {source}, but the clock of this process shows {offset / _HOUR:+g} h from UTC at "
        f"{seen:%Y-%m-%d %H:%M} UTC, where {name} is at {_offset(zone, at) / _HOUR:+g} h: {SET_IT}"
    )
    return HostZone(None, source, problem)


def _goes_by_older_data(zone: ZoneInfo, clock: list[tuple[int, int]]) -> bool:
    """Whether the host's own file of the zone explains the clock, and is of the same zone.

    It need not be: a file that is mounted over /etc/localtime lies, in an image where that is a link, over the zone
    that it leads to.
    """
    try:
        hosts = ZoneInfo(zone.key)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        return False
    if _first_difference(hosts, clock) is not None:
        return False
    return all(_offset(hosts, at) == _offset(zone, at) for at in _LONG_PAST)


def _first_difference(zone: tzinfo, clock: list[tuple[int, int]]) -> tuple[int, int] | None:
    return next(((at, offset) for at, offset in clock if _offset(zone, at) != offset), None)


def _offsets_of_clock(now: float) -> Iterator[tuple[int, int]]:
    """Instants around `now`, which comes first, and what the process's clock shows then beyond UTC; in seconds."""
    reach = _COMPARED_DAYS * 86_400
    for at in (int(now), *range(int(now) - reach, int(now) + reach, _COMPARED_EVERY_SECONDS)):
        yield at, calendar.timegm(time.localtime(at)) - at


def _offset(zone: tzinfo, at: int) -> int:
    offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())

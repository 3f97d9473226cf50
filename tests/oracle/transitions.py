"""The changes of a zone's UTC offset, found by looking."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

FIRST = datetime(2000, 1, 1, tzinfo=UTC)
LAST = datetime(2038, 1, 1, tzinfo=UTC)

ODD_ZONES = (
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Juba",
    "America/Caracas",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Europe/Volgograd",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Fakaofo",
    "Pacific/Kiritimati",
    "UTC",
)
"""Half hours, days left out, negative DST, two hours at once, Ramadan, midnights that are skipped, and none at all."""


@cache
def transitions(zone: str, look_every: timedelta = timedelta(hours=12)) -> tuple[datetime, ...]:
    """The first instants of each new offset from 2000 to 2037, to the minute."""
    info = ZoneInfo(zone)
    found = []
    instant, offset = FIRST, FIRST.astimezone(info).utcoffset()
    while instant < LAST:
        following = instant + look_every
        if following.astimezone(info).utcoffset() != offset:
            minute = instant
            while minute.astimezone(info).utcoffset() == offset:
                minute += timedelta(minutes=1)
            found.append(minute)
            offset = following.astimezone(info).utcoffset()
        instant = following
    return tuple(found)


def every_zone() -> tuple[str, ...]:
    """Every zone of the tz database, one of those that agree throughout standing for the others."""
    by_changes: dict[tuple[object, ...], str] = {}
    for zone in (*ODD_ZONES, *sorted(available_timezones())):
        if zone == "localtime" or zone.startswith("right/"):
            continue
        info = ZoneInfo(zone)
        changes = transitions(zone)
        key = (FIRST.astimezone(info).utcoffset(), *((at, at.astimezone(info).utcoffset()) for at in changes))
        by_changes.setdefault(key, zone)
    return tuple(by_changes.values())

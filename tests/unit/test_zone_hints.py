"""What is said of a time zone that there is not: it helps, and it never names another time than was meant."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest

from scheduler_core import InvalidSettingsError, ScheduleJob, load_settings
from scheduler_core.domain.errors import InvalidScheduleError, UnknownZoneError
from scheduler_core.domain.schedule.zone import find_zone
from scheduler_core.domain.schedule.zone_hints import _ABBREVIATIONS, _SUMMER_TIMES, posix_hint, zone_hint

WINTER, SUMMER = datetime(2026, 1, 15), datetime(2026, 7, 15)  # noqa: DTZ001 - walls


def names(hint: str | None) -> list[str]:
    """The zones that a hint names; each must be one."""
    found = re.findall(r"'([^']*)'", hint or "")
    assert all(find_zone(name) for name in found)
    return found


def ahead(name: str) -> set[timedelta | None]:
    info = find_zone(name).info
    return {moment.replace(tzinfo=info).utcoffset() for moment in (WINTER, SUMMER)}


def refused(name: Any) -> str:
    with pytest.raises(InvalidScheduleError) as caught:
        ScheduleJob("j", "J", "daily", "09:00", "app:f", timezone=name)
    return str(caught.value)


FORMS = (
    *("UTC{s}{h}", "GMT{s}{h}", "utc{s}{h:02}", "GMT {s}{h}"),
    *("UTC{s}{h:02}:00", "gmt{s}{h:02}00", "{s}{h:02}:00", "{s}{h:02}00"),
)


@pytest.mark.parametrize(("sign", "hours", "form"), list(product("+-", range(15), FORMS)))
def test_an_offset_is_meant_as_people_write_it(sign: str, hours: int, form: str) -> None:
    """`GMT+3` is three hours ahead; the database's name for that is `Etc/GMT-3`."""
    text = form.format(s=sign, h=hours)
    meant = timedelta(hours=-hours if sign == "-" else hours)
    found = names(zone_hint(text))
    assert len(found) == (0 if meant < timedelta(hours=-12) else 1), text
    assert all(ahead(name) == {meant} for name in found), text


@pytest.mark.parametrize("minutes", range(15, 15 * 60, 15))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_part_of_an_hour_names_a_place_that_keeps_it_or_none(minutes: int, sign: int) -> None:
    text = f"UTC{'-' if sign < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"
    assert all(ahead(name) == {sign * timedelta(minutes=minutes)} for name in names(zone_hint(text))), text


@pytest.mark.parametrize(
    ("text", "only"),
    [
        ("Etc/GMT+03", ["Etc/GMT+3"]),
        ("Etc/GMT-05:00", ["Etc/GMT-5"]),
        ("UTC\N{MINUS SIGN}3", ["Etc/GMT+3"]),
        ("JST-9", ["Etc/GMT-9"]),
        ("EST5EDT,M3.2.0,M11.1.0", ["America/New_York"]),
        ("EST5EDT4,M3.2.0,M11.1.0", []),
        ("CET-1CEST", ["Europe/Berlin"]),
        ("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", []),
        ("CEST", ["Europe/Berlin"]),
        ("IST", ["Asia/Kolkata", "Europe/Dublin", "Asia/Jerusalem"]),
        ("W. Europe Standard Time", ["Europe/Berlin"]),
        ("pacific standard time", ["America/Los_Angeles"]),
        ("utc", ["UTC"]),
        ("Z", ["UTC"]),
        ("europe/berlin", ["Europe/Berlin"]),
        ("America/New York", ["America/New_York"]),
        ("New York", ["America/New_York"]),
        ("Germany/Berlin", ["Europe/Berlin"]),
        ("Europe\\Berlin", ["Europe/Berlin"]),
        ("/usr/share/zoneinfo/Asia/Tokyo", ["Asia/Tokyo"]),
        (":Asia/Tokyo", ["Asia/Tokyo"]),
        ("posix/Asia/Tokyo", ["Asia/Tokyo"]),
        ("right/Asia/Tokyo", ["Asia/Tokyo"]),
        ("localtime", []),
    ],
)
def test_what_others_write(text: str, only: list[str]) -> None:
    assert names(zone_hint(text)) == only
    message = refused(text)
    assert zone_hint(text).rstrip("?") in message


@pytest.mark.parametrize("text", ["UTC3", "GMT3", "JST+9", "EST5", "FOO-7", "FOO+7", "Etc/UTC+3"])
def test_what_can_be_read_either_way_is_told_both_ways(text: str) -> None:
    both = names(zone_hint(text))
    offsets = [ahead(name) for name in both]
    assert len(both) == 2
    assert all(len(offset) == 1 for offset in offsets)
    assert sum((next(iter(offset)) for offset in offsets if offset), timedelta(0)) == timedelta(0)  # type: ignore[misc]


@pytest.mark.parametrize("hours", range(1, 13))
def test_the_variable_tz_has_the_sign_of_posix(hours: int) -> None:
    for text, meant in ((f"UTC+{hours}", -hours), (f"UTC{hours}", -hours), (f"UTC-{hours}", hours)):
        (name,) = names(posix_hint(text))
        assert ahead(name) == {timedelta(hours=meant)}


def test_a_misspelt_place() -> None:
    assert "Europe/Berlin" in names(zone_hint("Europe/Berln"))
    for text in ("Mars/Olympus", "India", "Foo", "EXT", "CSTT"):
        assert names(zone_hint(text)) == ["Europe/Berlin", "UTC"], text
        assert "such as" in zone_hint(text)


def test_every_name_of_the_tables_is_a_zone() -> None:
    for abbreviation, places in _ABBREVIATIONS.items():
        for place in places:
            info = find_zone(place).info
            shown = {moment.replace(tzinfo=info).tzname() for moment in (WINTER, SUMMER)}
            # Where the database has given an abbreviation up for a number, people have not.
            assert abbreviation in shown or any(name and name[0] in "+-" for name in shown), (
                abbreviation,
                place,
                shown,
            )
    for text, place in _SUMMER_TIMES.items():
        assert len(ahead(place)) == 2, text


@pytest.mark.parametrize("value", ["GMT+3", "UTC-5", "EST5EDT,M3.2.0,M11.1.0", "right/UTC", "localtime", "Berlin"])
def test_the_setting_says_the_same(value: str) -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        load_settings(timezone=value)
    assert zone_hint(value).rstrip("?") in str(caught.value)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (timezone.utc, "'UTC'"),  # noqa: UP017 - as it is written by many
        (timezone(timedelta(hours=3)), "'Etc/GMT-3'"),
        (5, "an IANA name"),
        (None, ""),
    ],
)
def test_objects_that_are_no_name(value: Any, hint: str) -> None:
    if value is None:
        ScheduleJob("j", "J", "daily", "09:00", "app:f", timezone=value)
    else:
        assert hint in refused(value)


def test_the_error_says_which_zone() -> None:
    with pytest.raises(UnknownZoneError) as caught:
        find_zone("Mars/Olympus")
    assert caught.value.zone == "Mars/Olympus"

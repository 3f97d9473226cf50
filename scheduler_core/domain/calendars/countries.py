"""The public holidays of a country as a calendar, from the library `holidays` (extra `calendars`)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.calendars.fields import WEEKDAYS
from scheduler_core.domain.errors import InvalidCalendarError, SchedulerError
from scheduler_core.domain.wording import did_you_mean, shown

MAX_YEARS = 200


def country_calendar(
    name: str,
    country: str,
    *,
    years: Iterable[int],
    subdivision: str | None = None,
    business_days: bool = False,
    language: str | None = None,
) -> Calendar:
    """The public holidays of a country in these years, from the library `holidays` (extra `calendars`).

    Args:
        name: The calendar's name, 1 to 200 printable characters.
        country: An ISO 3166 code as "DE".
        years: 1 to 200 years of 1900 to 2199.
        subdivision: A code as "BE", for the holidays of a state or region beside the whole country's.
        business_days: Exclude the country's weekend as well.
        language: Of the holidays' names, as "en_US". None: the country's own.

    Returns:
        The calendar; its note says from which version of the library.

    Raises:
        InvalidCalendarError: The name or the years can't be accepted, or the library knows no such country,
            subdivision or language, or no holidays of those years.
        SchedulerError: The library is not installed.
    """
    try:
        import holidays
    except ImportError:
        raise SchedulerError(
            "the holidays of countries come from a library that is not installed: "
            'pip install "scheduler-core[calendars]"'
        ) from None
    wanted = sorted(set(years))
    if not wanted or len(wanted) > MAX_YEARS or not all(1900 <= year < 2200 for year in wanted):
        raise InvalidCalendarError(
            f"years can't be {shown(wanted)}: give 1 to {MAX_YEARS} of 1900 to 2199, as 2026-2030"
        )
    known = holidays.list_supported_countries()
    code = country.strip().upper()
    if code not in known:
        raise InvalidCalendarError(
            f"there is no country {shown(country)}{did_you_mean(code, known)}: give an ISO 3166 code, as DE"
        )
    regions = known[code]
    if subdivision is not None and subdivision not in regions:
        some = ", ".join(regions[:60]) or "none"
        raise InvalidCalendarError(f"{code} has no subdivision {shown(subdivision)}: it has {some}")
    plain = holidays.country_holidays(code)
    if language is not None and language not in plain.supported_languages:
        known_languages = ", ".join(plain.supported_languages) or "none but its own"
        raise InvalidCalendarError(f"{code} has no names in the language {shown(language)}: it has {known_languages}")
    # Without one the library takes the language of the process's locale, which differs between hosts.
    spoken = language or plain.default_language
    found = holidays.country_holidays(code, subdiv=subdivision, years=wanted, expand=False, language=spoken)
    dates = {day: text for day, text in found.items() if day.year in wanted}
    if not dates:
        raise InvalidCalendarError(f"the library knows no holidays of {code} in {wanted[0]} to {wanted[-1]}")
    weekend = [WEEKDAYS[day] for day in sorted(found.weekend)] if business_days else []
    place = f"{code}-{subdivision}" if subdivision else code
    span = str(wanted[0]) if len(wanted) == 1 else f"{wanted[0]} to {wanted[-1]}"
    return Calendar(name, dates, weekend, note=f"{place}, {span}, by holidays {metadata.version('holidays')}")


def parse_years(text: str) -> list[int]:
    """`2026`, `2026-2030` or `2026,2028`. Raises InvalidCalendarError."""
    years: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or len(first) > 4 or (dash and (not last.isdecimal() or len(last) > 4)):
            raise InvalidCalendarError(f"years can't be {shown(text)}: write 2026, 2026-2030 or 2026,2028")
        years += range(int(first), int(last or first) + 1)
    return years

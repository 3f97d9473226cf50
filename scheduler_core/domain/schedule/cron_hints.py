"""What to write instead of cron text that other schedulers know. A hint that misleads is worse than none.

A rule knows one form. Where another term says the same it is named, in quotes; where none does, what to do instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from scheduler_core.domain.schedule.duration_words import duration_seconds
from scheduler_core.domain.schedule.zone_hints import posix_hint, zone_hint
from scheduler_core.domain.wording import shown
from scheduler_core.support.zone_data import zone_data

PLACES = ("second", "minute", "hour", "day", "month", "weekday")

_LIMITS = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "weekday": (0, 6),
}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NAMES = {
    "month": dict(zip(_MONTHS, range(1, 13), strict=True)),
    "weekday": dict(zip(_WEEKDAYS, range(7), strict=True)),
}

_VALUE = r"[0-9]{1,2}|[A-Z]{3}"
_YEARS = re.compile(r"[0-9*,/-]*[12][0-9]{3}[0-9*,/-]*")


def whole_hint(expression: str) -> str | None:
    """What to write instead of text that is no cron expression, or holds more than one; None where nothing is known."""
    return next(filter(None, (rule(expression) for rule in _WHOLE)), None)


def field_hint(fields: Sequence[str]) -> str | None:
    """What to write instead of the first term, of five fields or six, that another cron knows; None where none is."""
    for place, field in zip(PLACES[-len(fields) :], fields, strict=True):
        for term in field.upper().split(","):
            for rule in _TERMS:
                if (hint := rule(place, term)) is not None:
                    return hint
    return None


# The expression as a whole.


def _with_a_zone(expression: str) -> str | None:
    match = re.match(r"(?:CRON_)?TZ=(\S*) *(.*)", expression, re.IGNORECASE)
    if match is None:
        return None
    # Other crons hand it to the C library, so that its sign is POSIX's.
    known = zone_data().load(match[1]) is not None
    zone = shown(match[1]) if known else f"… ({posix_hint(match[1]) or zone_hint(match[1])})"
    return f"the time zone is a field of the job: give timezone={zone} and the expression {shown(match[2])}"


def _with_a_year(expression: str) -> str | None:
    fields = expression.split()
    if len(fields) == 7 and (fields[6] in {"*", "?"} or _YEARS.fullmatch(fields[6])):
        return "there is no field for years: leave the seventh out, and bound the job by start_at and end_at"
    if len(fields) == 6 and _YEARS.fullmatch(fields[5]):
        return "of six fields the first is seconds, and there is none for years: give five, and start_at and end_at"
    return None


def _with_a_command(expression: str) -> str | None:
    fields = expression.split()
    if len(fields) > 5 and re.match(r"[/~.$]|[a-z_]+\.[a-z]+", fields[5]):
        return f"what to call is a field of the job: give the five fields {shown(' '.join(fields[:5]))} alone"
    return None


def _of_aws(expression: str) -> str | None:
    if not re.fullmatch(r"cron\(.*\)", expression, re.IGNORECASE):
        return None
    return (
        "that is how AWS writes it, with a sixth field for years and weekdays from SUN=1: give five fields, the "
        "weekdays by name, and * for ?"
    )


def _as_a_duration(expression: str) -> str | None:
    seconds = duration_seconds(expression)
    if seconds is not None:
        return f"that is an INTERVAL of {seconds:g} seconds (every={seconds:g})"
    return "that is an INTERVAL: give its seconds" if expression.startswith(("@every", "rate(")) else None


def _as_a_time_of_day(expression: str) -> str | None:
    return "that is a DAILY schedule" if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", expression) else None


_WHOLE: tuple[Callable[[str], str | None], ...] = (
    _with_a_zone,
    _of_aws,
    _as_a_duration,
    _as_a_time_of_day,
    _with_a_command,
    _with_a_year,
)


# One term of a field.


def _question_mark(place: str, term: str) -> str | None:
    # Not read as `*`: whoever writes `?` may also count weekdays from SUN=1, and would fire on wrong days.
    if "?" not in term:
        return None
    return f"the '?' in {place} is Quartz's, which counts weekdays from SUN=1: write *, and weekdays by name"


def _days_before_the_last(place: str, term: str) -> str | None:
    match = re.fullmatch(r"L-([0-9]{1,2})", term)
    if place != "day" or match is None or not 1 <= int(match[1]) <= 27:
        return None
    return _one_of_several(term, 28 - int(match[1]), 31 - int(match[1]))


def _until_the_last(place: str, term: str) -> str | None:
    match = re.fullmatch(r"([0-9]{1,2})-L", term)
    if place != "day" or match is None or not 1 <= int(match[1]) <= 31:
        return None
    return f"{term} is '{match[1]}-31' here: a month fires on the days that it has"


def _nearest_weekday(place: str, term: str) -> str | None:
    match = re.fullmatch(r"([0-9]{1,2})W", term)
    if place != "day" or match is None or not 1 <= int(match[1]) <= 31:
        return "of Quartz's W there is 'LW', the last weekday of the month" if place == "day" and "W" in term else None
    day = int(match[1])
    # Quartz stays within the month: where the day is its first or its last, two days may lie between.
    first, last = (1, 3) if day == 1 else (day - 2 if day >= 28 else day - 1, min(day + 1, 31))
    return _one_of_several(term, first, last)


def _one_of_several(term: str, first: int, last: int) -> str:
    return (
        f"there is no {term} here: it is one of the days {first} to {last}, so write '{first}-{last}', and let the "
        "callback return on the others"
    )


def _last_weekday(place: str, term: str) -> str | None:
    if place != "weekday":
        return None
    if term == "L":
        return "L alone is Quartz's Saturday: write '6', or '6L' for the last Saturday of the month"
    match = re.fullmatch(rf"({_VALUE})#?L", term)
    day = None if match is None else _number(place, match[1])
    return None if day is None else f"the last of a weekday is written with its number: write '{day}L'"


def _which_weekday(place: str, term: str) -> str | None:
    match = re.fullmatch(rf"({_VALUE})(?:-({_VALUE}))?#([0-9]+)", term)
    if place != "weekday" or match is None:
        return None
    if not 1 <= int(match[3]) <= 5:
        return f"{term}: of a weekday a month has the first to the fifth, so write '#1' to '#5'"
    low, high = (None if value is None else _number(place, value) for value in (match[1], match[2]))
    if low is None or high is None:
        return None
    days = range(low, (high if high >= low else high + 7) + 1)
    named = ",".join(f"{_WEEKDAYS[day % 7]}#{match[3]}" for day in days)
    return f"# is said of one weekday each: write '{named}'"


def _over_the_end(place: str, term: str) -> str | None:
    """`22-2`: from 22 over midnight to 2."""
    match = re.fullmatch(rf"({_VALUE})-({_VALUE})(?:/([0-9]+))?", term)
    if match is None:
        return None
    least, most = _LIMITS[place]
    low, high, step = _number(place, match[1]), _number(place, match[2]), int(match[3] or 1)
    if low is None or high is None or not step:
        return None
    if place == "weekday" and high == 0 < low:
        return f"at a range's end Sunday is 7: write '{match[1]}-7{f'/{step}' if step > 1 else ''}'"
    if match[1] == "7" and low <= high:
        return f"where a range begins Sunday is 0: write '{term.replace('7', '0', 1)}'"
    if not least <= high < low <= most:
        return None
    if step == 1:
        parts = [_range(low, most), _range(least, high)]
    else:
        size = most - least + 1
        parts = [str(least + (value - least) % size) for value in range(low, high + size + 1, step)]
    return f"a range goes upwards, and {term} over the end: write '{','.join(parts)}'"


def _hashed(place: str, term: str) -> str | None:
    """Jenkins's `H`, and the `~` of some crons: a value of the scheduler's choice, so that jobs don't meet."""
    match = re.fullmatch(r"H(?:\(([0-9]+)-([0-9]+)\))?(?:/([0-9]+))?|([0-9]*)~([0-9]*)", term)
    if match is None:
        return None
    least, most = _LIMITS[place]
    low, high = int(match[1] or match[4] or least), int(match[2] or match[5] or most)
    told = f"nothing is chosen for you here: {place} takes a number of yours from {low} to {high}"
    if match[3] and int(match[3]):
        told = f"nothing is chosen for you here: for {term} write '{low}-{high}/{match[3]}', from a number of yours on"
    return f"{told}; the job's jitter keeps jobs from starting together"


def _in_full(place: str, term: str) -> str | None:
    """MONDAY, SEPT: a name's first three letters."""
    names = _NAMES.get(place, {})
    match = re.fullmatch(r"([A-Z]{4,9})(?:-([A-Z]{3,9}))?", term)
    if match is None or not all(value is None or value[:3] in names for value in match.groups()):
        return None
    return f"names are three letters: write '{'-'.join(value[:3] for value in match.groups() if value)}'"


def _idle_step(_place: str, term: str) -> str | None:
    return f"{term}: a step is 1 or more" if re.fullmatch(r".+/0+", term) else None


def _midnight(place: str, term: str) -> str | None:
    return "midnight is hour '0'" if place == "hour" and term == "24" else None


def _nothing(place: str, term: str) -> str | None:
    return f"{place} has a comma too many" if not term else None


_TERMS: tuple[Callable[[str, str], str | None], ...] = (
    _nothing,
    _question_mark,
    _days_before_the_last,
    _until_the_last,
    _nearest_weekday,
    _last_weekday,
    _which_weekday,
    _over_the_end,
    _hashed,
    _in_full,
    _idle_step,
    _midnight,
)


def _number(place: str, text: str) -> int | None:
    if text.isdigit():
        # Sunday has two numbers, and of a range that goes over the end of the week it is the first day again.
        return int(text) % 7 if place == "weekday" and text == "7" else int(text)
    return _NAMES.get(place, {}).get(text)


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"

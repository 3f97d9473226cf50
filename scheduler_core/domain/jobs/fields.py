"""What each field of a job may be: checks that take any value and return the one that is kept.

Each raises ValueError, also for a wrong type, whose message says what was wrong and what to give;
`job_checks` collects them.
"""
# ruff: noqa: TRY004

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from scheduler_core.domain.jobs.callback import check_reference
from scheduler_core.domain.jobs.json_value import as_jsonb
from scheduler_core.domain.schedule import check_timezone, read_moment
from scheduler_core.domain.schedule.zone_hints import AN_IANA_NAME, zone_hint
from scheduler_core.domain.wording import did_you_mean, shown

E = TypeVar("E", bound=StrEnum)
Check = Callable[[Any], Any]

TEN_YEARS = 3652 * 86_400
"""In seconds: longer durations are mistakes (milliseconds given for seconds, say)."""

# A search goes through the characters several times as fast as Python does, and few texts need one: what is printable
# holds none of these.
_NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

_MOST_NAMES = 100


def optional(check: Check) -> Check:
    """The same check, with None allowed."""
    return lambda value: None if value is None else check(value)


def check_text(value: Any, most: int = 200) -> str:
    """1 to `most` characters, none of them a control character (Postgres refuses NUL) or a lone surrogate."""
    if not isinstance(value, str):
        raise ValueError(f"can't be {shown(value)}, give a string")
    if not 1 <= len(value) <= most:
        raise ValueError(f"has {len(value)} characters, give 1 to {most}")
    if not value.isprintable() and _NO_TEXT.search(value):
        raise ValueError(f"can't be {shown(value)}, leave out control characters and lone surrogates")
    return value


def check_name(value: Any) -> str:
    """1 to 200 printable characters, no space at either end: what can be typed again from a screen."""
    text = check_text(value)
    if not text.isprintable() or text != text.strip():
        raise ValueError(f"can't be {shown(text)}, give printable characters with no space at either end")
    return text


def check_names(value: Any) -> tuple[str, ...]:
    """A list of at most 100 names; each is kept once, in the order given."""
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise ValueError(f"can't be {shown(value)}, give a list of names")
    if len(value) > _MOST_NAMES:
        raise ValueError(f"has {len(value)} names, give at most {_MOST_NAMES}")
    names = [check_name(name) for name in value]
    # A set has no order of its own, and the definition's digest must not depend on chance.
    return tuple(dict.fromkeys(sorted(names) if isinstance(value, (set, frozenset)) else names))


def check_flag(value: Any) -> bool:
    """True or False, nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise ValueError(f"can't be {shown(value)}, give True or False")
    return value


def whole_number(least: int, most: int) -> Check:
    """A check for an int from `least` to `most`, bools refused."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"can't be {shown(value)}, give a whole number from {least} to {most}")
        return value

    return check


def seconds(least: float = 0.0) -> Check:
    """A check for a duration in seconds (int, float or timedelta) from `least` to ten years; kept as a
    float.
    """

    def check(value: Any) -> float:
        number = value.total_seconds() if isinstance(value, timedelta) else value
        if (
            isinstance(number, bool)
            or not isinstance(number, (int, float))
            # The comparison is first: an int may be too large for a float, and NaN compares false.
            or not least <= number <= TEN_YEARS
            or not math.isfinite(number)
        ):
            raise ValueError(
                f"can't be {shown(value)}, give seconds (a number or a timedelta) from {least:g} to {TEN_YEARS}"
            )
        # Not -0.0, which is written otherwise than the 0.0 that it equals.
        return float(number) or 0.0

    return check


def choice(kind: type[E]) -> Check:
    """A check for a member of the enum, or its name or value in any case."""

    def check(value: Any) -> E:
        if isinstance(value, str) and value.isascii():
            try:
                return kind(value.strip().lower())
            except ValueError:
                pass
        raise ValueError(
            f"can't be {shown(value)}{did_you_mean(value, kind) if isinstance(value, str) else ''}, "
            f"give one of {', '.join(kind)}"
        )

    return check


def stored_word(kind: type[E]) -> Check:
    """A check for a member of the enum as a row holds it: its value, to the letter."""

    def check(value: Any) -> E:
        kept: E = choice(kind)(value)
        if value != kept.value:
            raise ValueError(f"can't be {shown(value)} in a row, where SQL reads it too: write {kept.value!r}")
        return kept

    return check


def check_callback(value: Any) -> Any:
    """A callable, or its name `module:qualname`."""
    if isinstance(value, str):
        return check_reference(value)
    if not callable(value):
        raise ValueError(f"{shown(value)} can't be called, give a function or a string 'module:qualname'")
    return value


def check_zone(value: Any) -> str:
    """The name of a time zone, or a `ZoneInfo`."""
    name = value.key if isinstance(value, ZoneInfo) else value
    if isinstance(name, tzinfo):
        # An offset says nothing of summer times, and is stored by no name of its own.
        raise ValueError(f"can't be {shown(value)}, {zone_hint(str(name))}")
    if not isinstance(name, str):
        raise ValueError(f"can't be {shown(value)}, {AN_IANA_NAME}")
    return check_timezone(name)


def check_bound(value: Any) -> datetime:
    """A datetime or ISO string. A naive one stays naive: its zone may be known only when it is stored."""
    moment = read_moment(value)
    if moment is None or not 1900 <= moment.year < 9000:
        raise ValueError(
            f"can't be {shown(value)}, give a datetime or an ISO string such as '2027-01-31T14:30:00' in the "
            "years 1900 to 8999"
        )
    return moment


def check_args(value: Any) -> tuple[Any, ...]:
    """Positional arguments: a list or tuple of JSON values, copied, so that later changes don't reach the
    job, and as the database will give them back.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"can't be {shown(value)}, give a list")
    return tuple(as_jsonb(value)) if value else ()


def check_kwargs(value: Any) -> dict[str, Any]:
    """Keyword arguments: a dict of JSON values, copied, so that later changes don't reach the job, and as the
    database will give them back.
    """
    if not isinstance(value, dict):
        raise ValueError(f"can't be {shown(value)}, give a dict")
    copy: dict[str, Any] = as_jsonb(value) if value else {}
    return copy

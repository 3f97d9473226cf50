"""Values as pages tell them: instants, spans, counts, states. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.domain.schedule.plain_words import plain_words
from scheduler_core.domain.wording import in_words

DASH = "–"


def when(instant: datetime | None, now: datetime) -> Markup:
    """An instant in UTC: the time of day, with its date where that is not today's; the whole as a tooltip."""
    if instant is None:
        return Markup('<span class="faint">–</span>')
    utc = instant.astimezone(UTC)
    date = "" if utc.date() == now.astimezone(UTC).date() else f"{utc:%b} {utc.day} "
    if date and utc.year != now.year:
        date = f"{utc:%Y-%m-%d} "
    whole = utc.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    return Markup('<time datetime="{}" title="{} UTC, {}">{}{:%H:%M:%S}</time>').format(
        utc.isoformat(), whole, ago(utc, now), date, utc
    )


def ago(instant: datetime | None, now: datetime) -> str:
    """`3 min ago`, `in 2 h 5 min`, `just now`."""
    if instant is None:
        return DASH
    span = now - instant
    if abs(span) < timedelta(seconds=1):
        return "just now"
    told = in_words(round(abs(span).total_seconds()))
    return f"{told} ago" if span > timedelta() else f"in {told}"


def span(value: timedelta | float | None) -> str:
    """A duration, as short as it can be read; a negative one with its sign."""
    if value is None:
        return DASH
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    return f"{'-' if seconds < 0 else ''}{in_words(abs(seconds))}"


def rate(per_second: float) -> str:
    """Fires per second."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}"


def count(number: int | None, most: int | None = None) -> str:
    """A count; `10,000+` where counting ended there."""
    if number is None:
        return DASH
    return f"{number:,}+" if most is not None and number >= most else f"{number:,}"


def plural(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def schedule_words(row: Mapping[str, Any]) -> str:
    """A job's schedule in plain words; as it is where it can't be read."""
    try:
        words = plain_words(ScheduleType(row["schedule_type"]), row["schedule_value"], row["timezone"])
    except (SchedulerError, ValueError):
        return f"{row['schedule_type']}: {row['schedule_value']}"
    return words if row["schedule_type"] in ("interval", "once") else f"{words}, {row['timezone']}"


OVERDUE = timedelta(seconds=2)


def job_state(row: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """A job's state in a word, and which of the signs stands beside it."""
    if not row["enabled"]:
        return "disabled", "off"
    if row["auto_disabled_at"] is not None:
        return "disabled after failures", "alert"
    if row["paused_at"] is not None and (row["paused_until"] is None or row["paused_until"] > now):
        return "paused", "paused"
    if row["finished_at"] is not None:
        return "finished", "off"
    if row["due_at"] is not None and row["due_at"] < now - OVERDUE:
        return "overdue", "alert"
    if row["consecutive_failures"]:
        return "failing", "failed"
    return "active", "succeeded"


def strip_words(runs: list[dict[str, Any]]) -> str:
    """What a strip of runs says to who can't see it: `last 20 runs: 18 succeeded, 2 failed`."""
    if not runs:
        return "no runs yet"
    tally: dict[str, int] = {}
    for run in runs:
        tally[run["status"]] = tally.get(run["status"], 0) + 1
    told = ", ".join(f"{number} {status}" for status, number in sorted(tally.items(), key=lambda one: -one[1]))
    return f"last {plural(len(runs), 'run')}: {told}"


def changed_fields(row: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The fields that a change changed: name, what it was, what it is."""
    old, new = row["old"] or {}, row["new"] or {}
    if not old or not new:
        return []
    return [(name, short(old.get(name)), short(new.get(name))) for name in new if old.get(name) != new.get(name)]


def short(value: Any) -> str:
    """A value of a definition, cut where it is long."""
    text = DASH if value is None else str(value)
    return text if len(text) <= 200 else text[:199] + "…"

"""Expressions of the test suites of two cron libraries, beside ours: what they expect, what we say.

The data (`data/*.json`) are expressions, instants and answers, with repository, files and licence on top; no code.
`data/differences.json` lists each expression on which we differ, with a reason; docs/schedules.md explains the reasons.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from scheduler_core import InvalidScheduleError, ScheduleJob
from scheduler_core.domain.schedule import Schedule

DATA = Path(__file__).parent / "data"
LIBRARIES = ("croniter", "robfig_cron")
REFUSED = "refused"

# Differences of notation or of the DST rule, which can be written away: what remains is compared again.
REWRITES = ("question-mark", "skipped-time", "repeated-time")
_ANCHOR = datetime.fromisoformat("2000-01-01T00:00:00Z")


@dataclass(frozen=True)
class Call:
    """One question of a suite: the next or the previous occurrence, or whether an instant is one."""

    library: str
    expression: str
    zone: str
    options: tuple[str, ...]
    direction: str
    start: datetime
    expected: datetime | bool | None

    @property
    def case(self) -> tuple[str, str, str, tuple[str, ...]]:
        return (self.library, self.expression, self.zone, self.options)


@cache
def suite(library: str) -> dict[str, Any]:
    """One library's data, whole."""
    data: dict[str, Any] = json.loads((DATA / f"{library}.json").read_text(encoding="utf-8"))
    return data


def calls(library: str) -> Iterator[Call]:
    """Its questions, in order."""
    for case in suite(library)["cases"]:
        for direction, start, *answer in case["calls"]:
            expected: datetime | bool | None
            match direction:
                case "fires" | "silent":
                    expected = direction == "fires"
                case _:
                    expected = None if answer[0] is None else datetime.fromisoformat(answer[0])
            options = tuple(case.get("options", ()))
            yield Call(
                library, case["expression"], case["zone"], options, direction, datetime.fromisoformat(start), expected
            )


def ours(library: str, expression: str, options: tuple[str, ...] = ()) -> str:
    """The same expression with its fields in our order: seconds first, no year, the weekday always there."""
    fields = expression.split(" ")
    if library == "croniter" and len(fields) == 6 and "second_at_beginning" not in options:
        return " ".join([fields[5], *fields[:5]])
    if library == "robfig_cron" and len(fields) == 5:
        return f"{expression} *"
    return expression


def answer(call: Call, rewrites: tuple[str, ...] = ()) -> datetime | bool | str | None:
    """What we say to a call; `REFUSED` where the expression is not accepted.

    Parameters: rewrites, the `REWRITES` that make our notation, and our `dst`, mean what the library means.
    """
    expression = ours(call.library, call.expression, call.options)
    if "question-mark" in rewrites:
        expression = expression.replace("?", "*")
    dst = "skip" if "skipped-time" in rewrites else "both" if "repeated-time" in rewrites else "once"
    try:
        schedule = _schedule(expression, call.zone, dst)
    except InvalidScheduleError:
        return REFUSED
    tick = timedelta(microseconds=1)
    match call.direction:
        case "next":
            return schedule.next_after(call.start)
        case "prev":
            return schedule.last_until(call.start - tick)
        case _:
            return schedule.last_until(call.start) == call.start


def accepts(library: str, expression: str) -> bool:
    """Whether an expression is accepted that the library refuses."""
    try:
        _schedule(ours(library, expression), "UTC")
    except InvalidScheduleError:
        return False
    return True


def differing(library: str) -> dict[str, list[Call]]:
    """The calls that we answer otherwise, by expression."""
    found: dict[str, list[Call]] = {}
    for call in calls(library):
        if answer(call) != call.expected:
            found.setdefault(call.expression, []).append(call)
    return found


def listed(library: str) -> dict[str, list[str]]:
    """The expressions of the list of differences, with their reasons."""
    entries = json.loads((DATA / "differences.json").read_text(encoding="utf-8"))
    return {entry["expression"]: entry["reasons"] for entry in entries if entry["library"] == library}


@cache
def _schedule(expression: str, zone: str, dst: str = "once") -> Schedule:
    job = ScheduleJob("j", "j", "cron", expression, "app:f", timezone=zone, dst=dst)
    return job.definition(zone).schedule(_ANCHOR)

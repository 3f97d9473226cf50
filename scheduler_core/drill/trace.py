"""The format of a trace: what every replica did, JSON lines, an event per line. Pure.

`docs/traces.md` has the format for people; `record_trace` makes one of a drill. A line's place is its order: a
transaction stands where its last row was written, a call where the callback wrote its first line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from scheduler_core.domain.errors import InvalidSettingsError


class Event(StrEnum):
    """What a line tells of."""

    HISTORY = "history"
    TERM = "term"
    SEAT = "seat"
    RESIGN = "resign"
    CLAIM = "claim"
    ADOPT = "adopt"
    BEGIN = "begin"
    MARK = "mark"
    END = "end"
    RETRY = "retry"
    HAND_BACK = "hand_back"
    REAP = "reap"
    FORGOTTEN = "forgotten"
    LATE = "late"
    NOTE = "note"
    OPERATOR = "operator"
    EXIT = "exit"
    FAULT = "fault"
    PROMOTED = "promoted"
    START = "start"
    OPEN = "open"
    CLOSE = "close"


SAYS: Mapping[Event, str] = {
    Event.HISTORY: "a history of its own begins: nothing before it counts any more",
    Event.TERM: "`by` moved the leader's row to `term`, and leads",
    Event.SEAT: "`by` has its seat again in the same term, under a new nonce",
    Event.RESIGN: "the leader of `term` freed the seat",
    Event.CLAIM: "under `term` the cursor of a job moved, and the runs in `writes` are there",
    Event.ADOPT: "under `term` `by` took over a run that nobody alive had begun",
    Event.BEGIN: "the callback of `run` was called: its own first line",
    Event.MARK: "the record knows that `by` has begun the run",
    Event.END: "`by` recorded how the run ended, or that it will not begin",
    Event.RETRY: "`by` recorded a failed attempt, after which the run waits for another",
    Event.HAND_BACK: "`by` gave a run back that it had not begun",
    Event.REAP: "under `term` `by` ended the attempt of an owner that is dead",
    Event.FORGOTTEN: "an owner ended an attempt whose end a promoted standby had not heard of",
    Event.LATE: "`by` told of an attempt whose run somebody else has: kept, and overwrites nothing",
    Event.NOTE: "a row was written, and nothing of the protocol moved",
    Event.OPERATOR: "somebody else than a leader wrote: triggered, edited, cancelled, removed",
    Event.EXIT: "the process `by` has ended",
    Event.FAULT: "the drill's fault `note` hit; `by`, whom it hit, if it hit one; `until`, when it was healed",
    Event.PROMOTED: "a standby, promoted at `until`, has heard of nothing after this; `terms`, those that it lacks",
    Event.START: "`by` started something under `term` (the simulated election, which has no runs)",
    Event.OPEN: "`by` began to trust in `term`",
    Event.CLOSE: "`by` trusts in no term any more",
}


@dataclass(frozen=True, slots=True)
class Write:
    """One version of one row. `over`: the transaction that wrote the version before it; None: there was none."""

    of: str
    """`leader`, `job` or `run`."""
    name: str
    over: str | None = None
    was: Mapping[str, Any] | None = None
    now: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One event. What an event does not have is None, and not written."""

    at: datetime
    event: Event
    by: str | None = None
    """A replica's instance id."""
    term: int | None = None
    tx: str | None = None
    """The transaction. Of one there may be several lines."""
    fence: str | None = None
    """The transaction whose version of the leader's row it had locked, where it was fenced."""
    run: str | None = None
    attempt: int | None = None
    note: str | None = None
    until: datetime | None = None
    since: datetime | None = None
    terms: tuple[int, ...] = ()
    writes: tuple[Write, ...] = ()


def as_text(line: Line) -> str:
    """One line of the file, without its end."""
    held: dict[str, Any] = {field.name: getattr(line, field.name) for field in fields(line)}
    held["writes"] = [_told(write) for write in line.writes]
    return json.dumps(
        {name: value for name, value in held.items() if value not in (None, (), [])}, default=_plain, ensure_ascii=False
    )


def _told(write: Write) -> dict[str, Any]:
    held = {field.name: getattr(write, field.name) for field in fields(write)}
    return {name: value for name, value in held.items() if value is not None}


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} has no place in a trace")


def read_lines(texts: Iterable[str]) -> Iterator[Line]:
    """Lines of a file as events. Raises InvalidSettingsError at the first that is none, with its number."""
    for number, text in enumerate(texts, start=1):
        if text.strip():
            try:
                yield _line(json.loads(text))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InvalidSettingsError(
                    f"line {number} is no event of a trace ({type(error).__name__}: {error}): "
                    "docs/traces.md has the format"
                ) from error


def _line(held: dict[str, Any]) -> Line:
    for name in ("at", "until", "since"):
        if name in held:
            held[name] = datetime.fromisoformat(held[name])
    held["event"] = Event(held["event"])
    held["terms"] = tuple(held.get("terms", ()))
    held["writes"] = tuple(Write(**write) for write in held.get("writes", ()))
    return Line(**held)

"""Alarms: what is one, when it opens and closes, and what people are told. Pure: facts come in, changes go out.

An alarm is a state of one job, or of the database's clock, that a person should know of, open from when it was seen
until it is over. A notification tells of a change: alarms that opened or closed in one look share one, however many
jobs they are of, so that an outage of a thousand jobs is one message and not a thousand. A takeover is no state and
only told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any
from uuid import UUID

from scheduler_core.domain.clock import WHAT_TO_DO
from scheduler_core.domain.wording import in_words

MAX_OPEN = 5_000
"""Alarms that are open at once. Nobody reads more, and each costs a little at each look."""

SHOWN_JOBS = 50
"""The most jobs that a notification names; `count` says how many there are."""

SHOWN_CHARACTERS = 500
"""The most of an error that a notification quotes."""


class AlarmKind(StrEnum):
    """What is wrong with a job."""

    FAILURE = "failure"
    """Its last run failed, after all its retries, or was lost."""
    OVERDUE = "overdue"
    """It should have started, and nobody started it."""
    DISABLED = "disabled"
    """It failed `disable_after` times in a row and was disabled by the scheduler."""
    CLOCK = "clock"
    """Of no job: the database's clock jumped, and planning stopped."""
    TRANSACTION = "transaction"
    """Of no job: a transaction stays open, and keeps what is dead from being cleaned away."""


CLOCK_NAME = "the database's clock"
TRANSACTION_NAME = "an open transaction"


class Event(StrEnum):
    """What a notification tells."""

    FAILURE = "failure"
    OVERDUE = "overdue"
    DISABLED = "disabled"
    CLOCK = "clock"
    TRANSACTION = "transaction"
    RECOVERY = "recovery"
    TAKEOVER = "takeover"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class LateJob:
    """A job that nobody started when it was due."""

    job_id: str
    name: str
    since: datetime
    """When it should have started."""
    reason: str
    """What it waits for, for people."""
    run_id: UUID | None = None
    """The run that waits, where there is one already."""


@dataclass(frozen=True, slots=True)
class FailedRuns:
    """Runs of one job that have failed since the last look."""

    job_id: str
    name: str
    count: int
    run_id: UUID
    """The last of them, as are the following."""
    failed_at: datetime
    error: str
    is_disabled: bool = False
    """Whether the job has been disabled for it."""


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """An alarm that is open, and what its job is like now."""

    alarm_id: int
    kind: AlarmKind
    job_id: str
    name: str
    since: datetime
    detail: str = ""
    exists: bool = True
    """Whether there still is such a job."""
    is_late: bool = False
    """Whether it is still overdue, or only just not any more."""
    is_failing: bool = False
    """Whether its last run failed."""
    is_disabled: bool = False
    has_begun_anew: bool = False
    """Whether it was over since, for less than from one look to the next."""


@dataclass(frozen=True, slots=True)
class ClockHold:
    """Planning stopped, or had stopped: the database's clock had jumped."""

    hold_id: int
    since: datetime
    """What the clock should have shown when it was found out."""
    detail: str
    is_open: bool
    is_told: bool
    """Whether an alarm was raised for it."""
    ended_why: str | None = None


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """Somebody's transaction that has been open for long."""

    since: datetime
    detail: str
    """Who has it, and how it is ended."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """A term that began after another one."""

    term: int
    instance_id: str
    host: str
    acquired_at: datetime
    former_instance_id: str | None
    """None: nobody had ever led before."""
    reason: str | None
    """Why the former term ended."""
    leaderless_seconds: float | None

    @property
    def is_planned(self) -> bool:
        """Whether the former leader gave its term up, as at a stop or a deploy."""
        return self.reason in PLANNED


FOR_A_CALLBACK = "handed over for a callback"
FOR_A_TIME_ZONE = "handed over for a time zone"
PLANNED = frozenset({"stopped", "resigned", "asked to", FOR_A_CALLBACK, FOR_A_TIME_ZONE})
"""The reasons of a leader that left of its own accord."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look found."""

    now: datetime
    late: Sequence[LateJob] = ()
    is_late_complete: bool = True
    """False: more jobs are late than one look takes."""
    failed: Sequence[FailedRuns] = ()
    open: Sequence[OpenAlarm] = ()
    takeovers: Sequence[Takeover] = ()
    holds: Sequence[ClockHold] = ()
    """The open one, those that nobody has been told of, and the last."""
    transactions: Sequence[OpenTransaction] = ()


@dataclass(frozen=True, slots=True)
class Opening:
    """An alarm that opens, or one that is open and has news."""

    kind: AlarmKind
    job_id: str
    name: str
    since: datetime
    detail: str
    failed_runs: int = 0
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """An alarm that closes, and why."""

    alarm: OpenAlarm
    why: str


@dataclass(frozen=True, slots=True)
class Notification:
    """One message: what happened, in words, and as data."""

    event: Event
    text: str
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """As the receiver gets it."""
        return {"type": self.event.value, "timestamp": self.at.isoformat(), "text": self.text, "data": dict(self.data)}


@dataclass(frozen=True, slots=True)
class Changes:
    """What follows from a look."""

    opened: tuple[Opening, ...] = ()
    renewed: tuple[Opening, ...] = ()
    """News of alarms that are open already: written down, and nobody is told again."""
    closed: tuple[Closing, ...] = ()
    notifications: tuple[Notification, ...] = ()
    without_room: int = 0
    """Alarms that should have opened while too many were open."""


def decide(facts: Facts) -> Changes:
    """What opens, what closes and what is told.

    An alarm that has news in this look is not closed by it: a run that failed and one that succeeded in the same
    moment are told one after the other, never lost against each other. One that was over and has begun anew since the
    last look closes now, and opens with the next. At most MAX_OPEN are open; what finds no room is counted in
    `without_room`.
    """
    is_open = {(alarm.kind, alarm.job_id): alarm for alarm in facts.open}
    anew = {key for key, alarm in is_open.items() if alarm.has_begun_anew}
    news = {key: o for o in _openings(facts) if (key := (o.kind, o.job_id)) not in anew}
    wanted = [opening for key, opening in news.items() if key not in is_open]
    opened = tuple(wanted[: max(0, MAX_OPEN - len(facts.open))])
    renewed = tuple(o for key, o in news.items() if key in is_open and _is_news(o, is_open[key]))
    closed = tuple(
        Closing(alarm, why)
        for alarm in facts.open
        if (alarm.kind, alarm.job_id) not in news
        and (why := why_over(alarm, facts.holds, facts.transactions)) is not None
    )
    told = (*_tell_openings(opened, facts), *_tell_closings(closed, facts.now), *map(_tell_takeover, facts.takeovers))
    notifications = tuple(notice for notice in told if notice is not None)
    return Changes(opened, renewed, closed, notifications, len(wanted) - len(opened))


def without_lateness(facts: Facts) -> Facts:
    """What a look found where the database's clock is not to be believed: nobody can tell what is late, or long open.

    What is open of these stays open, as it was told.
    """
    still_open = [
        replace(alarm, is_late=True) if alarm.kind is AlarmKind.OVERDUE else alarm
        for alarm in facts.open
        if alarm.kind is not AlarmKind.TRANSACTION
    ]
    return replace(facts, late=(), is_late_complete=True, transactions=(), open=still_open)


def _is_news(opening: Opening, alarm: OpenAlarm) -> bool:
    """Whether an open alarm has to say something new: another failure, or that its job waits for something else now."""
    match opening.kind:
        case AlarmKind.FAILURE:
            return True
        case AlarmKind.OVERDUE | AlarmKind.CLOCK | AlarmKind.TRANSACTION:
            return opening.detail != alarm.detail
        case AlarmKind.DISABLED:
            return False


def why_over(
    alarm: OpenAlarm, holds: Sequence[ClockHold] = (), transactions: Sequence[OpenTransaction] = ()
) -> str | None:
    """Why an alarm is over, by what its job is like now, or Postgres; None while it is not."""
    if alarm.kind is AlarmKind.TRANSACTION:
        return None if transactions else "it has ended"
    if alarm.kind is AlarmKind.CLOCK:
        if any(hold.is_open for hold in holds):
            return None
        return next(
            (hold.ended_why for hold in reversed(holds) if hold.ended_why is not None), "nothing stops planning"
        )
    if not alarm.exists:
        return "the job was removed"
    match alarm.kind:
        case AlarmKind.FAILURE:
            return None if alarm.is_failing else "a run succeeded"
        case AlarmKind.OVERDUE:
            return None if alarm.is_late else "it is not overdue any more"
        case _:
            return None if alarm.is_disabled and not alarm.has_begun_anew else "it was enabled again"


def _openings(facts: Facts) -> Iterable[Opening]:
    for hold in facts.holds:
        if hold.is_open or not hold.is_told:
            yield Opening(AlarmKind.CLOCK, "", CLOCK_NAME, hold.since, hold.detail)
    if facts.transactions:
        oldest = min(facts.transactions, key=lambda transaction: transaction.since)
        others = len(facts.transactions) - 1
        detail = oldest.detail + (f" (and {others} more)" if others else "")
        yield Opening(AlarmKind.TRANSACTION, "", TRANSACTION_NAME, oldest.since, detail)
    # Of a job that is late in two ways, the earlier comes last, and stands.
    for late in sorted(facts.late, key=lambda late: late.since, reverse=True):
        yield Opening(AlarmKind.OVERDUE, late.job_id, late.name, late.since, late.reason, 0, late.run_id)
    for failed in facts.failed:
        error = failed.error[:SHOWN_CHARACTERS]
        yield Opening(
            AlarmKind.FAILURE, failed.job_id, failed.name, failed.failed_at, error, failed.count, failed.run_id
        )
    disabled = {failed.job_id: failed.name for failed in facts.failed if failed.is_disabled}
    disabled |= {alarm.job_id: alarm.name for alarm in facts.open if alarm.is_disabled}
    for job_id, name in sorted(disabled.items()):
        yield Opening(AlarmKind.DISABLED, job_id, name, facts.now, "it failed too often in a row")


def _tell_openings(opened: Sequence[Opening], facts: Facts) -> Iterable[Notification]:
    for kind, group in groupby(sorted(opened, key=lambda o: (o.kind, o.since)), key=lambda o: o.kind):
        openings = list(group)
        more = kind is AlarmKind.OVERDUE and not facts.is_late_complete
        jobs = [_job_data(o, facts.now) for o in openings[:SHOWN_JOBS]]
        yield Notification(
            Event(kind.value),
            _headline(kind, openings, facts.now, more),
            facts.now,
            {"count": len(openings), "is_complete": not more, "jobs": jobs},
        )


def _job_data(opening: Opening, now: datetime) -> dict[str, Any]:
    data: dict[str, Any] = {
        "job_id": opening.job_id,
        "name": opening.name,
        "since": opening.since.isoformat(),
        "detail": opening.detail,
        "run_id": None if opening.run_id is None else str(opening.run_id),
    }
    if opening.kind is AlarmKind.OVERDUE:
        data["overdue_seconds"] = round((now - opening.since).total_seconds(), 3)
    if opening.kind is AlarmKind.FAILURE:
        data["failed_runs"] = opening.failed_runs
    return data


def _headline(kind: AlarmKind, openings: Sequence[Opening], now: datetime, more: bool) -> str:
    first = openings[0]
    others = len(openings) - 1
    match kind:
        case AlarmKind.OVERDUE:
            text = f"job {first.job_id} is overdue by {in_words((now - first.since).total_seconds())}: {first.detail}"
        case AlarmKind.FAILURE:
            text = f"job {first.job_id} failed: {first.detail}"
        case AlarmKind.DISABLED:
            text = f"job {first.job_id} was disabled: {first.detail}"
        case AlarmKind.CLOCK:
            text = f"planning has stopped: {first.detail}; {WHAT_TO_DO}"
        case AlarmKind.TRANSACTION:
            text = f"a transaction stays open: {first.detail}"
    return f"{text} (and {'at least ' if more else ''}{others} more jobs)" if others or more else text


def _tell_closings(closed: Sequence[Closing], now: datetime) -> Iterable[Notification]:
    if not closed:
        return
    first, others = closed[0], len(closed) - 1
    if first.alarm.kind is AlarmKind.CLOCK:
        text = f"planning goes on: {first.why}"
    elif first.alarm.kind is AlarmKind.TRANSACTION:
        text = f"no transaction stays open any more: {first.why}"
    else:
        text = f"job {first.alarm.job_id} is well again ({first.alarm.kind}): {first.why}"
    jobs = [
        {
            "job_id": closing.alarm.job_id,
            "name": closing.alarm.name,
            "of": closing.alarm.kind.value,
            "since": closing.alarm.since.isoformat(),
            "lasted_seconds": round((now - closing.alarm.since).total_seconds(), 3),
            "detail": closing.why,
        }
        for closing in closed[:SHOWN_JOBS]
    ]
    yield Notification(
        Event.RECOVERY,
        f"{text} (and {others} more alarms)" if others else text,
        now,
        {"count": len(closed), "is_complete": True, "jobs": jobs},
    )


def _tell_takeover(takeover: Takeover) -> Notification | None:
    if takeover.former_instance_id is None:
        return None
    gap = takeover.leaderless_seconds
    return Notification(
        Event.TAKEOVER,
        f"{takeover.instance_id} leads since term {takeover.term}, after {takeover.former_instance_id}: "
        f"{takeover.reason or 'no reason given'}" + ("" if gap is None else f"; nobody led for {in_words(gap)}"),
        takeover.acquired_at,
        {
            "term": takeover.term,
            "instance_id": takeover.instance_id,
            "host": takeover.host,
            "former_instance_id": takeover.former_instance_id,
            "reason": takeover.reason,
            "is_planned": takeover.is_planned,
            "leaderless_seconds": None if gap is None else round(gap, 3),
        },
    )

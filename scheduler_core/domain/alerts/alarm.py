"""Alarms: what is one, the facts that a look finds, and the changes that follow (`alarm_decision`, `alarm_words`).

An alarm is a state of one job, or of the database's clock, that a person should know of, open from when it was seen
until it is over. A notification tells of a change: alarms that opened or closed in one look share one, however many
jobs they are of, so that an outage of a thousand jobs is one message and not a thousand. A takeover is no state and
only told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

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

"""What a drill collects, as values: the apparatus fills them in, the judgement reads them.

All instants are aware, in UTC, and by the database's clock (those of witness files are corrected by the skew that
was measured between the two).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


@dataclass(frozen=True, slots=True)
class DrillJob:
    """What should fire: an instant each `every_ms`, the first at `starts_at`, by integers and nothing else."""

    job_id: str
    starts_at: datetime
    every_ms: int
    delivery: str = "at_least_once"
    misfire: str = "latest"
    kills_its_owner: bool = False
    """Its callback ends its own process on purpose."""


class Moment(StrEnum):
    """What a callback wrote down."""

    BEGAN = "began"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Call:
    """One line of a witness file: written by the callback itself, with one append, before and after its work."""

    moment: Moment
    job_id: str
    scheduled_for: datetime
    attempt: int
    term: int
    run_id: UUID
    pid: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One row of the view `runs`."""

    run_id: UUID
    job_id: str
    scheduled_for: datetime
    origin: str
    status: str
    reason: str | None
    attempts: int
    deliveries: int
    term: int | None
    instance_id: str | None
    started_at: datetime | None
    finished_at: datetime | None
    missed_count: int | None
    missed_from: datetime | None


@dataclass(frozen=True, slots=True)
class TermRecord:
    """One row of the view `leadership`."""

    term: int
    instance_id: str
    acquired_at: datetime
    ended_at: datetime | None
    end_reason: str | None


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """One replica process: its pid, and how it ended."""

    pid: int
    instance_id: str | None
    started_at: datetime
    ended_at: datetime | None
    exit_code: int | None
    """None while it lives; negative: the signal that ended it."""


@dataclass(frozen=True, slots=True)
class Failover:
    """A primary that was killed, and its standby promoted, for which no commit had waited."""

    killed_at: datetime
    replicated_until: datetime
    """When the last commit was made that the standby had."""


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """One fault: what, to whom, from when to when, and the first fire after it."""

    number: int
    kind: str
    """As on the command line: `kill`, `stop`, `redis-flush`, …"""
    target: str
    """For people: `leader, pid 4711`, `Redis`, …"""
    hit_leader: bool
    term_before: int
    injected_at: datetime
    healed_at: datetime | None
    first_fire_at: datetime | None
    """Start of the first run that began after `injected_at` and owes nothing to the leader that was hit: where the
    leader was killed, stopped or asked to leave, the first of a later term; else the first of any term."""
    term_after: int | None
    parts: tuple[str, ...] = ()
    """The kinds that hit at once, where `kind` is made of others."""
    failover: Failover | None = None
    """Where an asynchronous standby was promoted."""
    clock_off_seconds: float = 0.0
    """By how much the database's clock was off, until `healed_at`."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What hit: the kind itself, or those that it was made of."""
        return self.parts or (self.kind,)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that a verdict rests on. `began_at` and `ended_at` bound the occurrences that are checked."""

    seed: int
    lease_ttl_seconds: float
    began_at: datetime
    ended_at: datetime
    jobs: tuple[DrillJob, ...]
    faults: tuple[FaultRecord, ...]
    replicas: tuple[ReplicaRecord, ...]
    terms: tuple[TermRecord, ...]
    runs: tuple[RunRecord, ...]
    calls: tuple[Call, ...]
    pairs: int = 0
    """How many pairs of kinds can hit at once on these servers."""
    again: str = ""
    """The command that plays the same faults again."""

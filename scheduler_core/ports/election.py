"""What the election asks of the world: the control session and its witness, the lease in Redis, distributed locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from scheduler_core.domain.jobs.abilities import Abilities
from scheduler_core.domain.runs.run import Outcome

RESIGN_REQUEST = "\x01resign "
"""With a term behind it: a hint that somebody has asked whoever leads in that term to resign. Anybody may send it:
whether it was asked for, and by whom, stands in the row of the term. No job_id looks like it: those are printable.
"""


@dataclass(frozen=True, slots=True)
class LeaseName:
    """Which lease: of which scheduler, on which server.

    `scheduler` names the database, the schema and the installation; a copy of the database bears the same name.
    `server` names one start of the Postgres server, and so tells the copy from what it was copied from.
    """

    scheduler: str
    server: str


@dataclass(frozen=True, slots=True)
class LeaseView:
    """What the lease in Redis says at one moment. Anybody may have written there: nothing of it need make sense."""

    token: str
    instance_id: str
    term: int
    beat: int
    """Moves with each sign of life of its holder."""
    remaining_seconds: float | None
    """None: it never ends by itself."""
    age_seconds: float | None
    """Since its last sign of life, by Redis's clock; None: it does not say."""


@dataclass(frozen=True, slots=True)
class LeaseElsewhere:
    """A lease on another copy of this scheduler's database, alive on the same Redis."""

    server: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class LeaderRow:
    """The leader's row in Postgres: the last claim's number and fresh name."""

    term: int
    nonce: str | None
    instance_id: str | None
    witnessed: bool
    preferred_successor: str | None = None
    """In whose favour the last leader resigned."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """ "I lead": a value that only a successful claim returns. Every write that schedules carries it."""

    term: int
    nonce: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class Instance:
    """This process as the other replicas see it."""

    instance_id: str
    instance_name: str
    host: str
    pid: int
    version: str
    eligible: bool
    abilities: Abilities = field(default=Abilities())
    executes: tuple[str, ...] = ()
    """The executors whose offered runs it takes."""
    slots: int = 0
    """How many callbacks of each it executes at once."""


class SessionListener(Protocol):
    """Who is told what comes over a control session, in the loop that it was opened in."""

    def nudged(self, message: str) -> None:
        """Somebody says that something has changed: a job_id, "" for any, or a hint to a request."""

    def session_lost(self) -> None:
        """The connection has ended, whoever ended it."""


class ControlSession(Protocol):
    """One direct session to Postgres: the witnesses are held on it, and die with it."""

    async def open(self, instance: Instance, listener: SessionListener) -> datetime:
        """Connect, take the life witness, register the replica; returns the database's time."""

    @property
    def is_open(self) -> bool: ...

    @property
    def witnesses_work(self) -> bool:
        """False behind a transaction pooler: then only the lease's TTL tells of a death."""

    @property
    def lease_name(self) -> LeaseName:
        """Of the server that this session is with; once it has been opened."""

    async def leader(self) -> LeaderRow: ...

    async def await_fall(self, row: LeaderRow, wait_seconds: float) -> bool:
        """True once the leader's witness is gone; False if it is still held after `wait_seconds`."""

    async def uptime_seconds(self) -> float: ...

    async def claim(
        self, row: LeaderRow, nonce: str, *, reason: str, silent_seconds: float, proposed_term: int
    ) -> Leadership | None: ...

    async def seen(self) -> None:
        """A sign of life for people, given now and then; never waits for a lock."""

    async def last_seen_seconds(self, instance_id: str) -> float | None:
        """How long ago a replica gave its last one; None: nobody knows."""

    async def mark_running(self, running: Sequence[Outcome]) -> None:
        """Say of runs that were begun here that they were, so that nobody takes them from an owner that lives."""

    async def depart(self) -> None: ...

    async def confirm(self, leadership: Leadership) -> bool:
        """Whether the term still stands. Raises ServerUnreachableError also for a session that can only read."""

    async def reclaim(self, leadership: Leadership, nonce: str) -> Leadership | None:
        """Sit down again on the same term with a fresh witness, after the session was lost."""

    async def resign(self, leadership: Leadership, reason: str, preferred_successor: str | None = None) -> None: ...

    async def close(self) -> None: ...

    def abandon(self) -> None:
        """Close the socket at once, without a word: in a forked child it must not keep the witness alive."""


class Lease(Protocol):
    """The leader's lease in Redis."""

    def go_by(self, name: LeaseName) -> None:
        """Which lease is meant from now on."""

    async def take(
        self,
        token: str,
        ttl_seconds: float,
        instance_id: str,
        *,
        dead_token: str | None,
        term: int,
        is_new: bool,
        beat: int = 0,
    ) -> int:
        """Take it, if it is free, ours or the dead leader's; returns the term that it carries then, or 0."""

    async def renew(self, token: str, ttl_seconds: float, term: int, beat: int) -> bool | None: ...

    async def release(self, token: str) -> bool: ...

    async def read(self) -> LeaseView | None: ...

    async def elsewhere(self) -> Sequence[LeaseElsewhere]:
        """The living leases of other copies of this database."""

    async def close(self) -> None: ...


class Locks(Protocol):
    """A distributed lock service: ours, or any object of the user's with these three methods."""

    async def acquire(self, key: str, ttl: float) -> Any: ...

    async def renew(self, key: str, token: Any, ttl: float) -> Any: ...

    async def release(self, key: str, token: Any) -> Any: ...

"""What is asked of stored jobs and calendars: what is due, what is declared, what is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from scheduler_core.domain.access.actor import Actor
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.jobs.abilities import Abilities
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.jobs.status import JobStatus
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.ports.runs import InvalidRow, Settlement


@dataclass(frozen=True, slots=True)
class Declared:
    """What became of jobs that code declares: those that were added, and the ids of those in whose place something else
    stands, an operator's revert included. The others stand there as they are.
    """

    added: Sequence[StoredJob]
    changed: Sequence[str]


class Jobs(Protocol):
    """Definitions and cursors."""

    async def declare(self, jobs: Iterable[StoredJob], instance_id: str, actor: Actor) -> Declared:
        """Insert the jobs that are not there yet."""

    async def load(self, job_ids: Iterable[str]) -> list[StoredJob | InvalidRow]: ...

    async def settle(self, settlement: Settlement, actor: Actor, at: datetime) -> bool:
        """Account (up to `at`) and change in one statement; False if the job has moved or changed since it was read."""

    async def definition_at(self, job_id: str, version: int) -> JobDefinition | None:
        """What the job's definition was from this version on; None if there is no such version."""

    async def states(self, job_ids: Iterable[str] | None) -> list[JobStatus]: ...

    async def announce(self, instance_id: str, abilities: Abilities) -> None:
        """Say what this replica can call, so that a leader that can't may hand over to it."""

    async def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class StoredCalendar:
    """A calendar as the database holds it."""

    calendar: Calendar
    version: int


@dataclass(frozen=True, slots=True)
class RemovedCalendar:
    """What became of a calendar that was to be removed: it goes only if it existed and no job names it."""

    existed: bool
    job_count: int
    job_ids: tuple[str, ...]
    """The first few."""


class Calendars(Protocol):
    """Named calendars."""

    async def revision(self) -> str:
        """Differs after any change of any calendar."""

    async def load(self, names: Iterable[str] | None = None) -> Mapping[str, StoredCalendar]:
        """The calendars of these names (None: all), by name, as far as they exist and can be read."""

    async def save(self, calendar: Calendar, *, version: int | None, actor: Actor) -> bool:
        """Store it in place of that version (0: a new one, None: whatever is there); False if nothing changed."""

    async def remove(self, name: str, actor: Actor) -> RemovedCalendar: ...

    async def listed(self, names: Sequence[str] | None = None, *, limit: int = 1_000) -> list[dict[str, Any]]: ...

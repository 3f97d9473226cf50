"""What the watch for alarms and the notifier ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from scheduler_core.domain.alerts.alarm import Changes, Facts
from scheduler_core.domain.alerts.webhook import Verdict


@dataclass(frozen=True, slots=True)
class Look:
    """One look at alarms: what it found, and what belongs to storing what follows."""

    facts: Facts
    version: int
    term: int
    """The last term among what it found."""
    failure_ids: Sequence[int]
    has_more: bool
    """Whether more has failed than one look takes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of what followed from a look."""

    applied: bool
    """False: another replica was faster, and nothing was changed."""
    queued: int = 0
    dropped: int = 0
    """Notifications for which the outbox had no room."""


@dataclass(frozen=True, slots=True)
class Message:
    """A notification that this replica is to deliver."""

    notification_id: int
    message_id: UUID
    event: str
    body: Mapping[str, Any]
    attempts: int
    """With the one that is to be made now."""
    age: timedelta


class Alarms(Protocol):
    """What is wrong with which job."""

    async def look(self, *, overdue_seconds: float, fresh_seconds: float) -> Look | None:
        """What there is to decide on; None where somebody has looked within `fresh_seconds`."""

    async def store(self, look: Look, changes: Changes) -> Stored:
        """Store what follows from a look, all of it or nothing."""

    async def forget_old(self) -> None: ...


class Notifications(Protocol):
    """The outbox."""

    async def claim(self, *, lease_seconds: float) -> Message | None: ...

    async def settle(self, message: Message, verdict: Verdict, error: str | None) -> bool: ...

    async def tidy(self) -> int: ...

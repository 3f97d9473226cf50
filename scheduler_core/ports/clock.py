"""What the guard at the database's clock asks, and what is known of each replica's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from scheduler_core.domain.clock import ClockState, Evidence, Reading
from scheduler_core.ports.election import Leadership


@dataclass(frozen=True, slots=True)
class ReplicaTime:
    """What a replica knows of time: its machine's start, how far the database's clock is ahead of the machine's, the
    release of its time zone data, and the zones in it.
    """

    boot: str
    clock_ahead_seconds: float
    zone_release: str
    zones: frozenset[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClockView:
    """The database's time, what is stored of its clock, and what this replica has published: boot, how far the
    database's clock is ahead, release of the zone data (each None where it has not).
    """

    now: datetime
    state: ClockState
    published: tuple[str | None, float | None, str | None] = (None, None, None)


@dataclass(frozen=True, slots=True)
class Agreement:
    """An operator's: the time that was agreed to, and the hold that it ended, if there was one."""

    database_at: datetime
    hold_id: int | None


class DatabaseTime(Protocol):
    """The database's clock, and what is stored of it."""

    async def now(self) -> datetime: ...

    async def read(self, instance_id: str = "") -> ClockView: ...

    async def others_ahead_seconds(self, instance_id: str) -> Mapping[str, float]:
        """By machine start, how far the database's clock is ahead of the other machines' whose replicas live."""

    async def accept(self, leadership: Leadership, version: int, reading: Reading) -> bool:
        """Planning goes by this reading; returns whether that ended a hold."""

    async def hold(
        self, leadership: Leadership, version: int, reading: Reading, expected_at: datetime, evidence: Evidence
    ) -> bool:
        """Planning stops at this reading; False where nothing was stored."""

    async def publish(self, instance_id: str, time: ReplicaTime) -> None: ...

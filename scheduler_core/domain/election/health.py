"""Is a replica alive, is it ready? Decided from what it knows of itself; no server is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler_core.domain.clock import Jump
from scheduler_core.domain.election.trust import State


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """What a replica knows of itself at one moment."""

    instance_id: str
    instance_name: str
    version: str
    state: State
    is_stopping: bool
    stall_timeout_seconds: float
    leads: bool = False
    """Whether it may believe so at this instant."""
    term: int | None = None
    """Of its own leadership; None while it leads nothing."""
    is_started: bool = False
    holds_life: bool = False
    """Whether its session with Postgres stands, on which its witnesses are held."""
    stalled_seconds: float = 0.0
    """Since the scheduler's loop last showed that it moves."""
    runs_in_hand: int = 0
    runs_executing: int = 0
    max_concurrent_runs: int = 0
    outcomes_queued: int = 0
    clock_skew_seconds: float | None = None
    """This machine's wall clock minus the database's."""
    clock_jump: Jump | None = None
    """By how much the database's clock is off what this replica can go by; None while it goes by it."""
    transitions: Mapping[tuple[State, State], int] = field(default_factory=dict)
    """How often it went from one state of the election to another, since its last start."""
    lease_errors: int = 0
    """How often Redis gave no answer about the lease, since its last start."""


def why_not_alive(snapshot: HealthSnapshot) -> str | None:
    """What only a restart of the process mends; None: it lives.

    A process that has not started yet, or is stopping, lives: to restart it would only take longer.
    """
    if not snapshot.is_started or snapshot.is_stopping:
        return None
    if snapshot.state is State.STOPPED:
        return "the elector's thread has ended: this replica can't lead any more"
    if snapshot.stalled_seconds > snapshot.stall_timeout_seconds:
        return f"the scheduler's loop has not moved for {snapshot.stalled_seconds:.0f} s"
    return None


def why_not_ready(snapshot: HealthSnapshot) -> str | None:
    """Why this replica does not take part; None: it does. A follower is as ready as the leader."""
    if snapshot.is_stopping:
        return "stopping"
    if not snapshot.is_started or snapshot.state is State.STARTING:
        return "not started yet"
    if (dead := why_not_alive(snapshot)) is not None:
        return dead
    if not snapshot.holds_life:
        return "the session with Postgres is lost"
    return None

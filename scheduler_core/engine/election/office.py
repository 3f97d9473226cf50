"""What the parts of one elector share, all of it in the elector's own thread and loop."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from scheduler_core.domain.run import LoggerLike
from scheduler_core.domain.trust import State, Timing
from scheduler_core.engine.election.control_link import ControlLink
from scheduler_core.engine.election.exchange import ElectionListener, LoopPulse
from scheduler_core.engine.election.lease_holder import LeaseHolder
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.wake import Wake
from scheduler_core.ports import ControlSession, Instance, Leadership


@dataclass(slots=True)
class StateLog:
    """Where the replica stands in the election, and how often it went from where to where."""

    logger: LoggerLike
    state: State = State.STARTING
    transitions: Counter[tuple[State, State]] = field(default_factory=Counter)

    def enter(self, state: State, reason: str) -> None:
        """Go on to a state, and say so."""
        if state is self.state:
            return
        self.transitions[(self.state, state)] += 1
        self.logger.info("election: %s → %s (%s)", self.state.value, state.value, reason)
        self.state = state


@dataclass(slots=True)
class Office:
    """See the module."""

    instance: Instance
    timing: Timing
    link: ControlLink
    lease: LeaseHolder
    trust: LeaderTrust
    states: StateLog
    pulse: LoopPulse
    listener: ElectionListener
    wake: Wake
    logger: LoggerLike
    is_stopping: bool = False
    """Whether the elector is to leave the election."""
    is_retired: bool = False
    """Whether it stands no more: the replica is about to stop."""
    abstain_until: float = 0.0
    """A leader that resigned leaves the seat to the others until then (river #1213)."""

    @property
    def control(self) -> ControlSession:
        return self.link.session

    def seat(self, leadership: Leadership, trusted_until: float, reason: str) -> None:
        """Sit down: from here on this replica leads."""
        self.trust.seat(leadership, trusted_until)
        self.states.enter(State.LEADING, f"term {leadership.term}, {reason}")
        self.listener.leadership_changed(leadership, reason)

    def drop(self, reason: str) -> None:
        """Lead no more; harmless for one that does not."""
        if self.trust.drop() is not None:
            self.listener.leadership_changed(None, reason)

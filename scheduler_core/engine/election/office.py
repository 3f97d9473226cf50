"""What the parts of one elector share, all of it in the elector's own thread and loop."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from scheduler_core.domain.election.suspicion import Suspicion
from scheduler_core.domain.election.trust import State, Timing
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.election.control_link import ControlLink
from scheduler_core.engine.election.exchange import ElectionListener, LoopPulse
from scheduler_core.engine.election.lease_holder import LeaseHolder
from scheduler_core.engine.election.surroundings import Surroundings
from scheduler_core.engine.election.trust_window import LeaderTrust
from scheduler_core.engine.wake import Wake
from scheduler_core.ports.election import ControlSession, Instance, LeaderRow, Leadership


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
class Vacancies:
    """Since when a seat has been seen to be empty, however often somebody stood for it in vain."""

    _of: LeaderRow | None = None
    _since: float = 0.0

    def since(self, row: LeaderRow, alive_at: float) -> float:
        """The last sign of life under this row, where the one just found was at `alive_at` (boottime)."""
        if self._of != row or alive_at < self._since:
            self._of, self._since = row, alive_at
        return self._since

    def is_known(self, row: LeaderRow) -> bool:
        """Whether it was seen before."""
        return self._of == row

    def forget(self) -> None:
        """The seat is taken."""
        self._of = None


@dataclass(slots=True)
class Office:
    """What one replica's part in the election works with: its session, lease, trust window and state."""

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
    surroundings: Surroundings
    is_stopping: bool = False
    """Whether the elector is to leave the election."""
    is_retired: bool = False
    """Whether it stands no more: the replica is about to stop."""
    abstain_until: float = 0.0
    """A leader that resigned leaves the seat to the others until then (river #1213)."""
    vacancies: Vacancies = field(default_factory=Vacancies)
    suspicion: Suspicion = field(init=False)
    """What this replica has learnt of leaders' pauses, its own among them."""

    def __post_init__(self) -> None:
        self.suspicion = self.timing.suspicion()

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

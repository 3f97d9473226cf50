"""What must hold at every instant of a simulated election, whatever fails: asked as it happens.

The names are those of docs/invariants.md. What a leader may believe is held against what the server has told it: a
trust window is anchored where a statement was sent that Postgres has executed, and so before that instant.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from scheduler_core.domain.election.suspicion import LEAST_SECONDS
from scheduler_core.domain.election.trust import Timing
from scheduler_core.drill.trace import Event, Line
from scheduler_core.engine.election.trust_window import DOUBT_AFTER_SECONDS, DOUBT_FOR_SECONDS

from .timeline import Timeline

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

EXACT_SECONDS = 1e-6
"""What two sums of floats may differ by."""

OVERLAP_SECONDS = DOUBT_AFTER_SECONDS + DOUBT_FOR_SECONDS + 0.2
"""For how long after its successor's claim a leader may start what it has in hand, whose way to Postgres is well: the
word of its elector is so old at the most, and waited for so long, and a beat takes a moment.
"""


STALL_NOTICED_SECONDS = 1.0
"""A beat that began before the loop had stood for too long may take so long, and a TTL."""


class ViolationError(AssertionError):
    """An invariant is broken; the message begins with its name."""


@dataclass(slots=True)
class Term:
    """What the server knows of one claim."""

    number: int
    nonce: str
    instance_id: str
    claimed_at: float
    stood_at: float
    """When a session was told last that it stands."""
    seated_at: float
    """When the row was last moved to it."""
    succeeded_at: float | None = None


@dataclass(slots=True)
class Tally:
    """What happened, in numbers."""

    faults: Counter[str] = field(default_factory=Counter)
    terms: int = 0
    starts: int = 0
    refused_starts: int = 0
    takeovers: list[tuple[str, float]] = field(default_factory=list)
    """The fault, and seconds from it to the successor's claim."""
    longest_overlap_seconds: float = 0.0
    longest_vacancy_seconds: float = 0.0
    """From the last fault's end to a leader."""


class Checks:
    """Parameters: timing, of every replica."""

    def __init__(self, timeline: Timeline, timing: Timing) -> None:
        self.timeline = timeline
        self.timing = timing
        self.broken: ViolationError | None = None
        self.tally = Tally()
        self.trace: list[str] = []
        self.lines: list[Line] | None = None
        """The same for the checkers of traces (docs/traces.md), where somebody asks for it."""
        self.terms: list[Term] = []
        self.lost_terms: dict[int, float] = {}
        """Which a standby that took over had not seen, and when that was."""
        self.redis_troubled_at = 0.0
        """Until when Redis was in trouble, or out of anybody's sight."""
        self._windows: dict[str, tuple[int, float]] = {}
        """By instance: the term, and when the window ends."""
        self._digest = hashlib.blake2b(digest_size=12)

    # What is told.

    def say(self, text: str) -> None:
        """Something that belongs to this history."""
        line = f"{self.timeline.now - 1000:11.6f} {text}"
        self._digest.update(line.encode())
        self.trace.append(line)

    def digest(self) -> str:
        """Tells this history from every other."""
        self._digest.update(f"{self.timeline.steps} {self.timeline.now!r}".encode())
        return self._digest.hexdigest()

    def fail(self, text: str) -> None:
        if self.broken is None:
            self.say(f"VIOLATION {text}")
            self.broken = ViolationError(text)

    def record(self, event: Event, by: str, term: int | None = None) -> None:
        """A line of the trace."""
        if self.lines is not None:
            self.lines.append(Line(EPOCH + timedelta(seconds=self.timeline.now), event, by, term))

    # The server's row.

    def claimed(self, term: int, nonce: str, instance_id: str, *, deposes_living: bool) -> None:
        """I1: terms are unique and only grow. Of a number that neither server can have known nobody else knows.

        Of several candidates one moves the row: nobody has had the time to believe that a leader is dead whose witness
        is held (`deposes_living`), and who has just sat down.
        """
        now = self.timeline.now
        self.say(f"{instance_id} claims term {term}")
        self.tally.terms += 1
        greatest = max((other for other in self.terms), key=lambda other: other.number, default=None)
        if greatest is not None and term <= greatest.number and not self._is_forgotten(greatest):
            self.fail(f"I1: {instance_id} claims term {term} after {greatest.number}")
        last = self.terms[-1] if self.terms else None
        is_fresh = last is not None and now - last.seated_at < LEAST_SECONDS - EXACT_SECONDS
        if last is not None and is_fresh and deposes_living and not self._is_only_reclaimed(last):
            self.fail(f"I1: {instance_id} claims term {term} beside {last.number}, whose witness is held")
        if self.terms and self.terms[-1].succeeded_at is None:
            self.terms[-1].succeeded_at = now
        self.terms.append(Term(term, nonce, instance_id, now, now, now))
        self.record(Event.TERM, instance_id, term)

    def _is_only_reclaimed(self, term: Term) -> bool:
        """Whether its leader has the seat again and does not believe in it yet: each attempt lets the witness fall."""
        number, until = self._windows.get(term.instance_id, (0, 0.0))
        return term.seated_at > term.claimed_at and (number != term.number or until <= self.timeline.now)

    def _is_forgotten(self, term: Term) -> bool:
        lost_at = self.lost_terms.get(term.number)
        return lost_at is not None and self.redis_troubled_at >= term.claimed_at - 2 * self.timing.ttl_seconds

    def stands(self, term: int, nonce: str) -> None:
        """A session was told so."""
        last = self.terms[-1] if self.terms else None
        if last is not None and last.number in self.lost_terms:
            # After the promotion of a standby that has not seen the last terms, an older one may stand again.
            last = next((other for other in reversed(self.terms) if other.number == term), None)
        if last is None or last.number != term:
            self.fail(f"I1: term {term} stands, and is not the last")
            return
        last.stood_at = self.timeline.now
        if last.nonce != nonce:
            last.nonce, last.seated_at = nonce, self.timeline.now
            self.record(Event.SEAT, last.instance_id, term)

    def ended(self, term: int) -> None:
        self.say(f"term {term} ended")

    def resigned(self, term: int) -> None:
        self.record(
            Event.RESIGN, next(other.instance_id for other in reversed(self.terms) if other.number == term), term
        )

    # What replicas believe.

    def published(self, instance_id: str, term: int | None, until: float, *, stalled_seconds: float) -> None:
        """I7: a window ends a margin before a TTL after a good beat was sent; no two replicas have one for one term.

        L1: nobody goes on to lead whose scheduler's loop is wedged (`stalled_seconds`).
        """
        if term is None:
            if self._windows.pop(instance_id, None) is not None:
                self.say(f"{instance_id} has no window")
                self.record(Event.CLOSE, instance_id)
            return
        if self._windows.get(instance_id, (0, 0.0))[0] != term:
            self.say(f"{instance_id} has a window for term {term}")
            self.record(Event.OPEN, instance_id, term)
        before = self._windows.get(instance_id)
        patience = self.timing.stall_timeout_seconds + self.timing.ttl_seconds + STALL_NOTICED_SECONDS
        if before is not None and until > before[1] and stalled_seconds > patience:
            self.fail(f"L1: {instance_id} goes on to lead, and its loop has not moved for {stalled_seconds:.1f} s")
        self._windows[instance_id] = (term, until)
        of_it = next((t for t in reversed(self.terms) if t.number == term and t.instance_id == instance_id), None)
        if of_it is None:
            self.fail(f"I1: {instance_id} trusts term {term}, which it never claimed")
            return
        latest = of_it.stood_at + self.timing.ttl_seconds - self.timing.margin_seconds
        if until > latest + EXACT_SECONDS:
            self.fail(f"I7: {instance_id} trusts term {term} for {until - latest:.6f} s longer than its last good beat")
        for other, (others_term, others_until) in self._windows.items():
            is_open = other != instance_id and others_term == term and others_until > self.timeline.now
            if is_open and term not in self.lost_terms:
                self.fail(f"I1: {other} and {instance_id} trust term {term}")

    def gone(self, instance_id: str) -> None:
        """The process was killed, and believes nothing any more."""
        self._windows.pop(instance_id, None)
        self.record(Event.EXIT, instance_id)

    def started(self, instance_id: str, term: int, *, is_well: bool) -> None:
        """I7: something was started under a term. `is_well`: the replica's way to Postgres has been for a while."""
        self.tally.starts += 1
        self.record(Event.START, instance_id, term)
        of_it = next((t for t in reversed(self.terms) if t.number == term and t.instance_id == instance_id), None)
        if of_it is None or of_it.succeeded_at is None:
            return
        overlap = self.timeline.now - of_it.succeeded_at
        self.tally.longest_overlap_seconds = max(self.tally.longest_overlap_seconds, overlap)
        limit = self.timing.ttl_seconds - self.timing.margin_seconds
        if overlap > limit + EXACT_SECONDS:
            self.fail(f"I7: {instance_id} starts under term {term}, {overlap:.3f} s after its successor's claim")
        elif is_well and overlap > min(OVERLAP_SECONDS, limit):
            self.fail(f"I7: {instance_id}, well, starts under term {term} {overlap:.3f} s after its successor's claim")

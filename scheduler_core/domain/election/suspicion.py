"""When a silence is a death: a follower's measure of the leader's beats.

A leader beats many times in a TTL. The silence that is one too long follows from what was measured: several times the
longest pause that the leader has lately made and survived, never less than what an ordinary machine may take, never
more than a lease lasts. Fencing makes a false alarm harmless to the record; it should be rare all the same.

Only the leader is to be suspected, and not whoever looks: a follower that did not get to look, or had to wait for
Redis, knows nothing and begins to count again. How old a beat is, Redis says by its own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

LEAST_SECONDS = 0.8
"""No shorter silence is suspicious: with the takeover after it there is a successor within a second."""

PAUSES = 3.0
"""So many times the longest pause that was survived lately."""

FORGET_SECONDS = 60.0
"""After so long a pause counts for a third: of a machine that is busy there are more by then."""

FORGET_LONG_SECONDS = 900.0
"""The same of one that would have deposed a leader: those have their cause in what it executes, now and then."""

LOOKS = 3
"""So many looks in a row, each in time and answered at once, have to show the same old beat."""

LATE_BEATS = 3
"""A look that comes later than so many beats after the one before it tells that the one who looks was held up."""


@dataclass(slots=True)
class Suspicion:
    """Parameters: beat_every_seconds, how often a leader beats and a follower looks; limit_seconds, the silence that is
    too long whatever was measured.

    What is learnt of pauses stays from one leader to the next: they share the load that makes them.
    """

    beat_every_seconds: float
    limit_seconds: float
    _beat: int | None = None
    _beat_at: float = 0.0
    _silent_seconds: float = 0.0
    _looks: int = 0
    _looked_at: float | None = None
    _pause_seconds: float = 0.0
    _pause_at: float = 0.0

    def begin(self) -> None:
        """Another leader: its beats are yet to be seen."""
        self._beat, self._looked_at, self._looks, self._silent_seconds = None, None, 0, 0.0

    def blind(self) -> None:
        """Nothing could be seen: Redis or Postgres was slow, or the lease is not the leader's."""
        self._looks, self._looked_at = 0, None

    def look(self, asked_at: float, answered_at: float, beat: int, age_seconds: float | None) -> None:
        """Take in the leader's last beat and how old it is (None: the lease does not say), as Redis told it."""
        held_up = self._looked_at is not None and asked_at - self._looked_at > LATE_BEATS * self.beat_every_seconds
        in_time = answered_at - asked_at <= self.beat_every_seconds and not held_up
        self._looked_at = asked_at
        if beat != self._beat:
            beat_at = answered_at - (age_seconds or 0.0)
            if self._beat is not None and beat > self._beat:
                self.learn((beat_at - self._beat_at) / (beat - self._beat), answered_at)
            self._beat, self._beat_at, self._looks, self._silent_seconds = beat, beat_at, 0, 0.0
            return
        self._looks = self._looks + 1 if in_time else 0
        self._silent_seconds = answered_at - self._beat_at if age_seconds is None else age_seconds

    def learn(self, pause_seconds: float, now: float) -> None:
        """A leader made so long a pause, and lived."""
        if pause_seconds >= self._longest_pause(now):
            self._pause_seconds, self._pause_at = pause_seconds, now

    def patience_seconds(self, now: float) -> float:
        """The silence that is too long."""
        return min(self.limit_seconds, max(LEAST_SECONDS, PAUSES * self._longest_pause(now)))

    def is_suspicious(self, now: float) -> bool:
        """Whether the leader has been silent for too long, as far as one can see."""
        return self._looks >= LOOKS and self._silent_seconds >= self.patience_seconds(now)

    def earliest_in(self, now: float) -> float:
        """Seconds until it could be suspicious, if no other beat came."""
        if self._beat is None:
            return self.limit_seconds
        return max(self.beat_every_seconds, self._beat_at + self.patience_seconds(now) - now)

    def _longest_pause(self, now: float) -> float:
        forget_seconds = FORGET_SECONDS if self._pause_seconds < LEAST_SECONDS else FORGET_LONG_SECONDS
        return self._pause_seconds * exp((self._pause_at - now) / forget_seconds)

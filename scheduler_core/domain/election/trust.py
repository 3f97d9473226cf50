"""How long a leader may believe that it leads, and what it makes of the answers to its renewals.

Pure policy: `engine.election` asks, `storage` fetches the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from scheduler_core.domain.election.suspicion import Suspicion
from scheduler_core.domain.errors import InvalidSettingsError

BEAT_SECONDS = 0.1

REDIS_PATIENCE_SECONDS = 0.06
"""Many times what it takes on a network without trouble, and little of what a takeover may take."""


class State(StrEnum):
    """Where a replica stands in the election (docs/protocol.md)."""

    STARTING = "starting"
    FOLLOWING = "following"
    CANDIDATE = "candidate"
    LEADING = "leading"
    RECLAIMING = "reclaiming"
    RESIGNING = "resigning"
    STOPPED = "stopped"


class RedisOutage(StrEnum):
    """What a leader does while Redis can't be asked."""

    HOLD = "hold"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Timing:
    """The timings of an election, all derived from the TTL, and checked against each other.

    river's leaders renewed once per TTL and flapped (river #217): here at least four beats fit into a TTL, and
    the trust window closes a margin before the lease does.
    """

    ttl_seconds: float = 3.0
    stall_timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not 0.2 <= self.ttl_seconds <= 3600:
            raise InvalidSettingsError(f"lease_ttl is {self.ttl_seconds} s: choose 0.2 to 3600 seconds")
        if self.stall_timeout_seconds < self.ttl_seconds:
            raise InvalidSettingsError(
                f"stall_timeout ({self.stall_timeout_seconds} s) is shorter than lease_ttl ({self.ttl_seconds} s): "
                "the leader would be deposed for a callback that blocks a moment; make it longer"
            )

    @property
    def beat_every_seconds(self) -> float:
        """Between two signs of life of a leader, and two looks of a follower for them."""
        return min(BEAT_SECONDS, self.ttl_seconds / 4)

    @property
    def margin_seconds(self) -> float:
        return self.ttl_seconds / 10

    @property
    def silence_seconds(self) -> float:
        """After how long without a sign of life a follower may stand.

        Longer than any trust window, shorter than the lease: a stopped leader is replaced within a TTL.
        """
        return self.ttl_seconds - self.margin_seconds / 2

    @property
    def candidacy_seconds(self) -> float:
        """How long a candidate's lease lasts: one that dies before its claim must not keep the others out."""
        return self.ttl_seconds / 4

    @property
    def statement_timeout_seconds(self) -> float:
        """When the answer to a statement of the hot path is given up: no leadership outlives a longer silence."""
        return max(1.0, self.ttl_seconds)

    @property
    def redis_timeout_seconds(self) -> float:
        return self.ttl_seconds / 5

    @property
    def redis_patience_seconds(self) -> float:
        """How long anybody waits for Redis where it decides nothing: under `hold` Postgres does."""
        return min(REDIS_PATIENCE_SECONDS, self.redis_timeout_seconds)

    def trusted_until(self, sent_at: float) -> float:
        """When trust ends that rests on a renewal sent at `sent_at`: anchored at sending, not at the answer."""
        return sent_at + self.ttl_seconds - self.margin_seconds

    def watch(self) -> LeaseWatch:
        """A follower's fresh view of the leader's lease."""
        return LeaseWatch(self.silence_seconds)

    def suspicion(self) -> Suspicion:
        """A follower's measure of the leader's beats."""
        return Suspicion(self.beat_every_seconds, self.silence_seconds)

    def candidate_trusted_until(self, sent_at: float) -> float:
        """The same for a claim that was sent at `sent_at`, under a candidate's short lease."""
        return sent_at + self.candidacy_seconds - self.margin_seconds


class Renewal(Enum):
    """What Redis said to a renewal."""

    RENEWED = "renewed"
    ABSENT = "absent"
    TAKEN = "taken"
    UNREADABLE = "unreadable"


class Confirmation(Enum):
    """What Postgres said about the term."""

    STANDS = "stands"
    ENDED = "ended"
    UNREADABLE = "unreadable"


class Verdict(Enum):
    """What a leader does after one beat."""

    EXTEND = "extend the trust window"
    RETAKE_LEASE = "take the lease again, then extend"
    WAIT = "let the trust window run"
    RECLAIM = "stop claiming and seat the term again"
    STEP_DOWN = "step down"


_WHILE_THE_TERM_STANDS = {
    # Only Postgres ends a term. Redis may have lost its data, or carry what a candidate or a stranger put there.
    (RedisOutage.HOLD, Renewal.RENEWED): Verdict.EXTEND,
    (RedisOutage.HOLD, Renewal.ABSENT): Verdict.RETAKE_LEASE,
    (RedisOutage.HOLD, Renewal.TAKEN): Verdict.EXTEND,
    (RedisOutage.HOLD, Renewal.UNREADABLE): Verdict.EXTEND,
    # No lease, no fires.
    (RedisOutage.STOP, Renewal.RENEWED): Verdict.EXTEND,
    (RedisOutage.STOP, Renewal.ABSENT): Verdict.RETAKE_LEASE,
    (RedisOutage.STOP, Renewal.TAKEN): Verdict.STEP_DOWN,
    (RedisOutage.STOP, Renewal.UNREADABLE): Verdict.WAIT,
}


def judge(renewal: Renewal, confirmation: Confirmation, outage: RedisOutage) -> Verdict:
    """What follows from one beat's two answers. Postgres decides; under `stop` Redis may end a leadership earlier."""
    if confirmation is Confirmation.ENDED:
        return Verdict.STEP_DOWN
    verdict = _WHILE_THE_TERM_STANDS[outage, renewal]
    if confirmation is Confirmation.UNREADABLE and verdict is not Verdict.STEP_DOWN:
        return Verdict.RECLAIM
    return verdict


@dataclass(slots=True)
class LeaseWatch:
    """A follower's view of the leader's lease: how long it has gone without a sign of life.

    Absent or unchanged counts against the leader; unreadable does not (an error is not a death certificate).
    All times are on the follower's own clock.
    """

    silence_seconds: float
    has_seen_beats: bool = False
    """Whether the leader has ever been seen to have a lease: without one it gives no signs that could stay away."""
    _seen: tuple[str, int] | None = None
    _alive_at: float | None = None

    def look(self, now: float, token: str | None, beat: int = 0, age_seconds: float | None = None) -> None:
        """Take in what the lease says: its holder's token, None for an absent lease; its last beat, and how old that is
        (None: it does not say).
        """
        known_at = self._alive_at
        if known_at is None:
            self._alive_at = now
        if token is not None and (token, beat) != self._seen:
            self._seen = (token, beat)
            self.has_seen_beats = True
            beat_at = now - (age_seconds or 0.0)
            # A beat from before an outage takes nothing back: while nobody could be read, nobody could renew.
            self._alive_at = beat_at if known_at is None else max(known_at, beat_at)

    def unreadable(self, now: float) -> None:
        """Redis did not answer, or the lease is not the leader's: nothing is known, and the count begins again."""
        self._alive_at = now

    def silent_seconds(self, now: float) -> float:
        return 0.0 if self._alive_at is None else now - self._alive_at

    def expires_in(self, now: float) -> float:
        """Seconds until the silence has lasted long enough to stand."""
        return self.silence_seconds - self.silent_seconds(now)


@dataclass(slots=True)
class StrangersLease:
    """A lease under the token of nobody who leads: a candidate's, one that died, or whatever somebody wrote there.

    One that shows no sign of life for long enough is outlived, also where it would never end by itself.
    """

    _seen: tuple[str, int] | None = None
    _since: float = 0.0

    def look(self, now: float, token: str | None, beat: int = 0) -> None:
        """Take in what the lease says; `token` None where it is free or a leader's."""
        if token is None:
            self._seen = None
        elif (token, beat) != self._seen:
            self._seen, self._since = (token, beat), now

    def outlived(self, now: float, after_seconds: float) -> str | None:
        """Its token, if it has shown no sign of life for so long."""
        return self._seen[0] if self._seen is not None and now - self._since >= after_seconds else None

"""How long a leader may believe that it leads, and what it makes of the answers to its renewals.

Pure policy: `engine.election` asks, `storage` fetches the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from scheduler_core.domain.errors import InvalidSettingsError


class State(StrEnum):
    """Where a replica stands in the election (docs/protocol.md)."""

    STARTING = "starting"
    FOLLOWING = "following"
    STANDING = "standing"
    LEADING = "leading"
    RESEATING = "reseating"
    RESIGNING = "resigning"
    STOPPED = "stopped"


class RedisOutage(StrEnum):
    """What a leader does while Redis can't be asked."""

    HOLD = "hold"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Timing:
    """The timings of an election, all derived from the TTL, and checked against each other.

    river's leaders renewed once per TTL and flapped (river #217): here four renewals fit into a TTL, and
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
    def renew_every_seconds(self) -> float:
        return self.ttl_seconds / 4

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
        return self.renew_every_seconds

    @property
    def statement_timeout_seconds(self) -> float:
        """When the answer to a statement of the hot path is given up: no leadership outlives a longer silence."""
        return max(1.0, self.ttl_seconds)

    @property
    def redis_timeout_seconds(self) -> float:
        return self.ttl_seconds / 5

    def trusted_until(self, sent_at: float) -> float:
        """When trust ends that rests on a renewal sent at `sent_at`: anchored at sending, not at the answer."""
        return sent_at + self.ttl_seconds - self.margin_seconds

    def watch(self) -> LeaseWatch:
        """A follower's fresh view of the leader's lease."""
        return LeaseWatch(self.ttl_seconds, self.silence_seconds)

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
    RESEAT = "stop claiming and seat the term again"
    STEP_DOWN = "step down"


def judge(renewal: Renewal, confirmation: Confirmation, outage: RedisOutage) -> Verdict:
    """What follows from one beat's two answers. Postgres decides; Redis may only end a leadership earlier."""
    if confirmation is Confirmation.ENDED or renewal is Renewal.TAKEN:
        return Verdict.STEP_DOWN
    if confirmation is Confirmation.UNREADABLE:
        return Verdict.RESEAT
    return {
        Renewal.RENEWED: Verdict.EXTEND,
        # Redis lost its data: Postgres has just said that the term stands.
        Renewal.ABSENT: Verdict.RETAKE_LEASE,
        Renewal.UNREADABLE: Verdict.EXTEND if outage is RedisOutage.HOLD else Verdict.WAIT,
    }[renewal]


@dataclass(slots=True)
class LeaseWatch:
    """A follower's view of the leader's lease: how long it has gone without a sign of life.

    Absent or unchanged counts against the leader; unreadable does not (an error is not a death certificate).
    All times are on the follower's own clock.
    """

    ttl_seconds: float
    silence_seconds: float
    _seen: tuple[str, int] | None = None
    _alive_at: float | None = None

    def look(self, now: float, token: str | None, renewals: int, remaining_seconds: float) -> None:
        """Take in what the lease says; `token` None for an absent lease."""
        known_at = self._alive_at
        if known_at is None:
            self._alive_at = now
        if token is not None and (token, renewals) != self._seen:
            self._seen = (token, renewals)
            # The remaining time tells when the renewal was: a TTL before the end. A lease that was never renewed is
            # a candidate's, and shorter: it counts from when it was seen.
            since_renewal = max(0.0, self.ttl_seconds - remaining_seconds) if renewals else 0.0
            renewed_at = now - since_renewal
            # A renewal from before an outage takes nothing back: while nobody could be read, nobody could renew.
            self._alive_at = renewed_at if known_at is None else max(known_at, renewed_at)

    def unreadable(self, now: float) -> None:
        """Redis did not answer: nothing is known, and the count begins again."""
        self._alive_at = now

    def silent_seconds(self, now: float) -> float:
        return 0.0 if self._alive_at is None else now - self._alive_at

    def expires_in(self, now: float) -> float:
        """Seconds until the silence has lasted long enough to stand."""
        return self.silence_seconds - self.silent_seconds(now)

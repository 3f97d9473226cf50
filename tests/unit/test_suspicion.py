"""When a silence is a death: what a follower makes of the beats that it sees, on a clock of the test's own."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest

from scheduler_core.domain.election.suspicion import LEAST_SECONDS, LOOKS, PAUSES, Suspicion
from scheduler_core.domain.election.trust import Timing

BEAT = 0.1
LIMIT = Timing().silence_seconds


class Follower:
    """Looks once a beat at what a leader has said by then, and says when it suspects it."""

    def __init__(self, answer_seconds: float = 0.001) -> None:
        self.suspicion = Suspicion(BEAT, LIMIT)
        self.answer_seconds = answer_seconds
        self.now = 100.0

    def watches(self, beats: Iterable[float], for_seconds: float) -> float | None:
        """Seconds after the last beat at which it suspects a leader who beats at these instants; None: it does not."""
        instants = [100.0 + at for at in beats]
        until = self.now + for_seconds
        while self.now < until:
            said = [at for at in instants if at <= self.now]
            asked_at = self.now
            answered_at = asked_at + self.answer_seconds
            if said:
                self.suspicion.look(asked_at, answered_at, len(said), answered_at - said[-1])
            self.now = max(answered_at, asked_at + BEAT)
            if self.suspicion.is_suspicious(answered_at):
                return answered_at - said[-1]
        return None


def steady(until: float) -> list[float]:
    return [n * BEAT for n in range(int(until / BEAT))]


def test_a_hang_is_suspected_within_a_second() -> None:
    found = Follower().watches(steady(5.0), 10)
    assert found is not None
    assert LEAST_SECONDS <= found <= LEAST_SECONDS + BEAT + 0.01


def test_a_leader_that_beats_is_never_suspected() -> None:
    assert Follower().watches(steady(60.0), 59) is None


@pytest.mark.parametrize("seed", range(20))
def test_pauses_are_measured_and_borne(seed: int) -> None:
    """A machine that starves its processes more and more: no pause three times as long as the longest before it."""
    draw = random.Random(seed)

    def beats() -> Iterator[float]:
        at = 0.0
        for n in range(600):
            yield at
            at += BEAT + draw.random() * min(0.9, n / 300)

    assert Follower().watches(beats(), 250) is None


def test_a_hang_after_pauses_takes_longer_to_tell_and_no_longer_than_the_limit() -> None:
    uneven = [n * 0.5 for n in range(20)]
    found = Follower().watches(uneven, 30)
    assert found is not None
    assert PAUSES * 0.45 <= found <= PAUSES * 0.5 + 2 * BEAT
    slow = [n * 2.0 for n in range(20)]
    follower = Follower()
    follower.suspicion.learn(2.0, 99.0)
    found = follower.watches(slow, 80)
    assert found is not None
    assert LIMIT <= found <= LIMIT + 2 * BEAT


def test_what_was_learnt_is_forgotten_in_time() -> None:
    suspicion = Suspicion(BEAT, LIMIT)
    suspicion.learn(0.5, 100.0)
    assert suspicion.patience_seconds(100.0) == pytest.approx(1.5)
    assert suspicion.patience_seconds(160.0) == LEAST_SECONDS


def test_a_pause_that_deposed_a_leader_is_remembered_for_longer() -> None:
    """A callback that holds the interpreter for a second every few minutes deposes once, and not each time."""
    suspicion = Suspicion(BEAT, LIMIT)
    suspicion.learn(1.0, 100.0)
    assert suspicion.patience_seconds(100.0) == LIMIT
    assert suspicion.patience_seconds(400.0) > 2.0
    assert suspicion.patience_seconds(100.0 + 3600) == LEAST_SECONDS


def test_a_follower_that_was_held_up_suspects_itself() -> None:
    """Stopped for two seconds together with the leader, it has to look again for a while."""
    follower = Follower()
    assert follower.watches(steady(5.0), 4.95) is None
    follower.now += 2.0
    woken = [*steady(5.0), *(7.1 + at for at in steady(5.0))]
    assert follower.watches(woken, 4.0) is None


def test_a_slow_redis_tells_nothing() -> None:
    """Half a second for an answer: then the lease's TTL has to tell."""
    assert Follower(answer_seconds=0.5).watches(steady(5.0), 20) is None


def test_another_leader_is_watched_anew() -> None:
    follower = Follower()
    assert follower.watches(steady(5.0), 10) is not None
    follower.suspicion.begin()
    assert not follower.suspicion.is_suspicious(follower.now)
    assert follower.suspicion.earliest_in(follower.now) == LIMIT


def test_whoever_can_not_see_begins_to_count_again() -> None:
    suspicion = Suspicion(BEAT, LIMIT)
    for n in range(20):
        suspicion.look(n * BEAT, n * BEAT, 1, n * BEAT)
    assert suspicion.is_suspicious(2.0)
    suspicion.blind()
    assert not suspicion.is_suspicious(2.0)
    for n in range(20, 20 + LOOKS):
        suspicion.look(n * BEAT, n * BEAT, 1, n * BEAT)
        assert not suspicion.is_suspicious(n * BEAT) or n == 20 + LOOKS - 1
    assert suspicion.is_suspicious(2.3)


def test_a_lease_without_an_age_counts_from_when_it_was_seen() -> None:
    suspicion = Suspicion(BEAT, LIMIT)
    for n in [*range(8), *range(9, 20)]:  # not at the very instant, which fractions decide
        suspicion.look(50.0 + n * BEAT, 50.0 + n * BEAT, 1, None)
        assert suspicion.is_suspicious(50.0 + n * BEAT) == (n > 8)


@pytest.mark.parametrize("ttl_seconds", [0.2, 1, 3, 60])
def test_no_timing_is_more_patient_than_its_lease(ttl_seconds: float) -> None:
    timing = Timing(ttl_seconds, stall_timeout_seconds=max(10, ttl_seconds))
    suspicion = timing.suspicion()
    suspicion.learn(1000.0, 0.0)
    assert suspicion.patience_seconds(0.0) == timing.silence_seconds

"""The election's pure policy: timings that fit each other, verdicts, and a follower's view of the lease."""

import itertools

import pytest

from scheduler_core.domain.election.trust import (
    Confirmation,
    LeaseWatch,
    RedisOutage,
    Renewal,
    StrangersLease,
    Timing,
    Verdict,
    judge,
)
from scheduler_core.domain.errors import InvalidSettingsError


@pytest.mark.parametrize("ttl_seconds", [0.2, 1, 3, 60])
def test_four_beats_fit_into_a_lease_and_trust_ends_before_it(ttl_seconds: float) -> None:
    """river #217, a TTL equal to the renewal interval flaps."""
    timing = Timing(ttl_seconds, stall_timeout_seconds=max(10, ttl_seconds))
    assert timing.beat_every_seconds * 4 <= ttl_seconds
    assert timing.beat_every_seconds + timing.redis_timeout_seconds < ttl_seconds - timing.margin_seconds
    assert timing.trusted_until(100.0) < 100.0 + timing.silence_seconds < 100.0 + ttl_seconds
    assert timing.candidate_trusted_until(100.0) < 100.0 + timing.candidacy_seconds


@pytest.mark.parametrize(("ttl", "stall"), [(0, 10), (-1, 10), (0.1, 10), (5, 3), (float("nan"), 10)])
def test_timings_that_do_not_fit_are_refused(ttl: float, stall: float) -> None:
    with pytest.raises(InvalidSettingsError):
        Timing(ttl, stall)


EVERY_ANSWER = list(itertools.product(RedisOutage, Renewal))


@pytest.mark.parametrize(("outage", "renewal"), EVERY_ANSWER)
def test_only_postgres_can_prolong_a_leadership(outage: RedisOutage, renewal: Renewal) -> None:
    """No answer of Redis makes up for a term that has ended or can't be confirmed."""
    assert judge(renewal, Confirmation.ENDED, outage) is Verdict.STEP_DOWN
    assert judge(renewal, Confirmation.UNREADABLE, outage) in {Verdict.RECLAIM, Verdict.STEP_DOWN}


@pytest.mark.parametrize("renewal", Renewal)
def test_under_hold_only_postgres_ends_a_term(renewal: Renewal) -> None:
    """Redis may be silent, answer with errors, forget, or say that somebody else holds the lease."""
    assert judge(renewal, Confirmation.STANDS, RedisOutage.HOLD) in {Verdict.EXTEND, Verdict.RETAKE_LEASE}


@pytest.mark.parametrize(
    ("renewal", "outage", "verdict"),
    [
        (Renewal.RENEWED, RedisOutage.HOLD, Verdict.EXTEND),
        (Renewal.ABSENT, RedisOutage.HOLD, Verdict.RETAKE_LEASE),
        (Renewal.TAKEN, RedisOutage.HOLD, Verdict.EXTEND),
        (Renewal.UNREADABLE, RedisOutage.HOLD, Verdict.EXTEND),
        (Renewal.RENEWED, RedisOutage.STOP, Verdict.EXTEND),
        (Renewal.ABSENT, RedisOutage.STOP, Verdict.RETAKE_LEASE),
        (Renewal.TAKEN, RedisOutage.STOP, Verdict.STEP_DOWN),
        (Renewal.UNREADABLE, RedisOutage.STOP, Verdict.WAIT),
    ],
)
def test_what_redis_says_while_the_term_stands(renewal: Renewal, outage: RedisOutage, verdict: Verdict) -> None:
    assert judge(renewal, Confirmation.STANDS, outage) is verdict


def test_a_lease_that_is_renewed_is_never_silent() -> None:
    watch = LeaseWatch(2.85)
    for beat in range(100):
        watch.look(beat * 0.1, "token", beat, 0.0)
        assert watch.silent_seconds(beat * 0.1) == 0


def test_the_age_tells_when_the_last_beat_was() -> None:
    watch = LeaseWatch(2.85)
    watch.look(10.0, "token", 1, 1.0)
    assert watch.silent_seconds(10.0) == pytest.approx(1.0)
    assert watch.expires_in(10.0) == pytest.approx(1.85)


def test_a_lease_that_does_not_tell_its_age_does_not_look_old() -> None:
    """One that never ends, by hand: it counts from when it was seen."""
    watch = LeaseWatch(2.85)
    watch.look(10.0, "token", 0, None)
    assert watch.silent_seconds(10.0) == 0
    watch.look(13.0, "token", 0, None)
    assert watch.silent_seconds(13.0) == pytest.approx(3.0)


def test_an_absent_lease_counts_only_after_a_ttl_of_ones_own() -> None:
    """FLUSHALL deposes nobody: absence says nothing by itself."""
    watch = LeaseWatch(2.85)
    watch.look(10.0, None)
    assert watch.silent_seconds(10.0) == 0
    watch.look(12.8, None)
    assert watch.expires_in(12.8) > 0
    assert watch.expires_in(12.9) <= 0
    assert not watch.has_seen_beats


def test_a_lease_that_is_evicted_and_taken_again_is_alive() -> None:
    """Five evictions a second: each time the leader takes it again its beat has gone on."""
    watch = LeaseWatch(2.85)
    for look in range(100):
        now = look * 0.1
        watch.look(now, *(("token", look, 0.02) if look % 2 else (None,)))
        assert watch.silent_seconds(now) < 0.3


def test_an_unreadable_lease_begins_the_count_again() -> None:
    """An error is not a death certificate."""
    watch = LeaseWatch(2.85)
    watch.look(10.0, "token", 1, 0.0)
    watch.unreadable(12.9)
    watch.look(13.1, "token", 1, 3.0)
    assert watch.silent_seconds(13.1) < 3.0


def test_a_beat_from_before_an_outage_does_not_shorten_the_count() -> None:
    """Redis fails over: the new master shows the last renewal before it, which nobody had read."""
    watch = LeaseWatch(2.85)
    watch.look(10.0, "token", 1, 0.0)
    watch.unreadable(12.6)
    watch.look(12.7, "token", 2, 2.5)
    assert watch.silent_seconds(12.7) == pytest.approx(0.1)


def test_a_strangers_lease_is_outlived_once_it_shows_no_life() -> None:
    stranger = StrangersLease()
    assert stranger.outlived(10.0, 2.85) is None
    stranger.look(10.0, "x", 1)
    stranger.look(12.0, "x", 1)
    assert stranger.outlived(12.8, 2.85) is None
    assert stranger.outlived(12.9, 2.85) == "x"
    stranger.look(12.9, "x", 2)
    assert stranger.outlived(15.0, 2.85) is None, "it lives"
    stranger.look(15.0, "y", 2)
    assert stranger.outlived(16.0, 2.85) is None, "another one"
    stranger.look(16.0, None)
    assert stranger.outlived(60.0, 2.85) is None

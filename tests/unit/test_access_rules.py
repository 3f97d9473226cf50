"""Scopes, tokens, and slowing down who guesses: decided without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from scheduler_core.domain.access.access import Scope, Token, check_token, csrf_token_of, digest_of_secret
from scheduler_core.domain.errors import InvalidTokenError
from scheduler_core.web.login_throttle import MOST_ADDRESSES, LoginThrottle

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_each_scope_includes_those_before_it() -> None:
    included = {scope: {other for other in Scope if scope.includes(other)} for scope in Scope}
    assert included == {
        Scope.VIEWER: {Scope.VIEWER},
        Scope.OPERATOR: {Scope.VIEWER, Scope.OPERATOR},
        Scope.ADMIN: {Scope.VIEWER, Scope.OPERATOR, Scope.ADMIN},
    }


@pytest.mark.parametrize(
    ("expires_at", "revoked_at", "stands"),
    [
        (None, None, True),
        (NOW + timedelta(microseconds=1), None, True),
        (NOW, None, False),
        (None, NOW - timedelta(days=1), False),
        (NOW + timedelta(days=1), NOW, False),
    ],
)
def test_a_token_stands_until_it_expires_or_is_revoked(
    expires_at: datetime | None, revoked_at: datetime | None, stands: bool
) -> None:
    token = Token(uuid4(), "t", Scope.ADMIN, NOW, "me", expires_at, revoked_at, None, None)
    assert token.stands(NOW) is stands


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_token_lasts_a_time_that_makes_sense(days: float) -> None:
    with pytest.raises(InvalidTokenError, match="days"):
        check_token("name", days)


def test_what_stands_in_pages_tells_nothing_of_the_session() -> None:
    secret = "s" * 43
    assert csrf_token_of(secret) != digest_of_secret(secret).hex()
    assert csrf_token_of(secret) != csrf_token_of("t" * 43)


def test_who_fails_too_often_waits() -> None:
    attempts = LoginThrottle(most_failures=3, within_seconds=60.0)
    for second in range(3):
        assert attempts.wait_seconds("a", b"guess", float(second)) == 0
        attempts.failed("a", b"guess", float(second))
    assert attempts.wait_seconds("a", b"guess", 10.0) == 50.0
    assert attempts.wait_seconds("b", b"guess", 10.0) == 0
    assert attempts.wait_seconds("a", b"guess", 60.5) == 0, "the first failure is past"
    attempts.failed("a", b"guess", 60.5)
    assert attempts.wait_seconds("a", b"guess", 60.6) > 0


def test_a_neighbour_of_who_guesses_goes_on() -> None:
    """Behind one proxy all have one address."""
    attempts = LoginThrottle(most_failures=1)
    attempts.succeeded(b"good")
    attempts.failed("a", b"guess", 0.0)
    assert attempts.wait_seconds("a", b"good", 1.0) == 0
    assert attempts.wait_seconds("a", b"other", 1.0) > 0
    attempts.failed("b", b"good", 1.0)
    assert attempts.wait_seconds("b", b"good", 1.0) > 0, "revoked since, it is no better than a guess"


def test_what_is_remembered_is_bounded() -> None:
    attempts = LoginThrottle()
    for number in range(MOST_ADDRESSES + 500):
        attempts.failed(str(number), b"", 0.0)
        attempts.succeeded(number.to_bytes(4, "big"))
    assert len(attempts._failures) == MOST_ADDRESSES
    assert len(attempts._known) == 1_000

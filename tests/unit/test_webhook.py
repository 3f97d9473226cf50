"""Webhooks: signatures, secrets, and what follows from an answer."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler_core.domain.alerts.webhook import GIVE_UP_AFTER, encode_body, judge, parse_secrets, signed_headers
from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.settings import Settings, load_settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """A vector that the standard's own libraries test themselves with."""
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', parse_secrets(SECRET))
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_a_key_is_replaced_both_sign() -> None:
    other = base64.b64encode(b"x" * 32).decode()
    keys = parse_secrets(f"whsec_{other} {SECRET}")
    assert len(keys) == 2
    signatures = signed_headers("id", 0, b"", keys)["webhook-signature"].split()
    assert signatures[1] == signed_headers("id", 0, b"", keys[1:])["webhook-signature"]
    assert len(set(signatures)) == 2


@pytest.mark.parametrize(
    "secret", ["", "  ", "hunter2", "whsec_", "whsec_hidden!", "whsec_aGlkZGVu", f"{SECRET} short"]
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(InvalidSettingsError, match="openssl rand") as caught:
        parse_secrets(secret)
    assert "hidden" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_body_is_the_same_bytes_for_each_attempt_whatever_it_holds() -> None:
    body = {"text": "Grüße \ud800 \u2028", "data": {"b": 1, "a": 2}}
    assert encode_body(body) == encode_body(dict(reversed(body.items())))
    encode_body(body).decode("utf-8")


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_every_success_is_a_delivery(status: int) -> None:
    assert judge(status, 99, timedelta(days=3)).delivered


@pytest.mark.parametrize("status", [None, 301, 302, 408, 409, 425, 429, 500, 502, 503, 504])
def test_who_can_t_is_waited_for(status: int | None) -> None:
    verdict = judge(status, 1, timedelta(0))
    assert (verdict.delivered, verdict.given_up, verdict.refused) == (False, False, False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_who_refuses_keeps_nothing_else_waiting(status: int) -> None:
    verdict = judge(status, 1, timedelta(0))
    assert (verdict.delivered, verdict.given_up, verdict.refused) == (False, False, True)


def test_the_pause_doubles_up_to_a_minute_and_a_day_is_the_end() -> None:
    waits = [judge(503, attempts, timedelta(0)).retry_seconds for attempts in range(1, 10)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert judge(None, 100_000, timedelta(0)).retry_seconds == 60
    assert judge(503, 2, GIVE_UP_AFTER).given_up
    assert judge(404, 2, GIVE_UP_AFTER).given_up


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"webhook_url": "https://receiver/x"}, "webhook_secret"),
        ({"webhook_secret": SECRET}, "webhook_url"),
        ({"webhook_url": "receiver/x", "webhook_secret": SECRET}, "no web address"),
        ({"webhook_url": "ftp://receiver/x", "webhook_secret": SECRET}, "no web address"),
        ({"webhook_url": "https://", "webhook_secret": SECRET}, "no web address"),
        ({"webhook_url": "https://host:99999/hidden", "webhook_secret": SECRET}, "no web address"),
        ({"webhook_url": "https://host/\nx", "webhook_secret": SECRET}, "no web address"),
        ({"webhook_url": "https://receiver/hidden", "webhook_secret": "hidden"}, "openssl rand"),
        ({"webhook_timeout": 0}, "webhook_timeout"),
        ({"alarm_interval": 0}, "alarm_interval"),
        ({"overdue_after": 2, "lease_ttl": 3}, "overdue_after"),
    ],
)
def test_a_wrong_setting_is_named_and_not_shown(given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSettingsError, match=words) as caught:
        load_settings(**given)
    assert "hidden" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_no_secret_in_what_is_printed() -> None:
    settings: Settings = load_settings(webhook_url="https://receiver/hidden", webhook_secret=SECRET)
    assert "hidden" not in repr(settings)
    assert SECRET not in repr(settings)
    assert len(settings.webhook_keys) == 1


@pytest.mark.parametrize(
    ("given", "seconds"),
    [({}, 10), ({"lease_ttl": 12, "stall_timeout": 30}, 12), ({"overdue_after": 4}, 4), ({"overdue_after": 60}, 60)],
)
def test_overdue_is_never_sooner_than_a_takeover(given: dict[str, object], seconds: float) -> None:
    assert load_settings(**given).overdue_seconds == seconds

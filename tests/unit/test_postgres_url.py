"""What a database_url may say: all of libpq's spellings that the driver can serve, and the others by their name."""

from __future__ import annotations

import pytest

from scheduler_core import InvalidSettingsError
from scheduler_core.storage.postgres.url import NOT_TAKEN, parse_url, server_name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:p@h/d", "h:5432/d"),
        ("postgres://u:p@h:6543/d\n", "h:6543/d"),
        ("  postgresql://u:p@h/d?connect_timeout=3&application_name=shop&channel_binding=prefer ", "h:5432/d"),
        ("postgresql://u:p@h/d?options=-c%20search_path%3Dx", "h:5432/d"),
        ("postgresql://u:p@h1:5432,h2:5433/d?target_session_attrs=primary", "h1:5432,h2:5433/d"),
        ("postgresql://u:p@h1,h2,h3:7/d", "h1,h2,h3:7/d"),
        ("postgresql://u@/d?host=h1,h2&port=1,2", "h1,h2:1,2/d"),
        ("postgresql://h1:1,h2:2/d", "h1:1,h2:2/d"),
        ("postgresql:///?service=shop", "service shop"),
        ("postgresql:///d", "localhost:5432/d"),
    ],
)
def test_the_usual_spellings_are_taken(url: str, name: str) -> None:
    assert server_name(parse_url(url)) == name


def test_several_hosts_reach_the_driver_as_they_were_given() -> None:
    parsed = parse_url("postgresql://us%40er:p%2Fw@h1:5432,h2:5433/d?sslmode=require")
    assert (parsed.username, parsed.password, parsed.database) == ("us@er", "p/w", "d")
    assert dict(parsed.query) == {"host": "h1:5432,h2:5433", "sslmode": "require"}


@pytest.mark.parametrize("name", sorted(NOT_TAKEN))
def test_what_the_driver_lacks_is_named(name: str) -> None:
    with pytest.raises(InvalidSettingsError, match=rf"\b{name}\b"):
        parse_url(f"postgresql://u:hidden@h/d?{name}=1")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("channel_binding=require", "channel_binding"),
        ("connect_timeout=soon", "connect_timeout"),
        ("sslmode=maybe", "sslmode"),
        ("host=a&host=b", "twice"),
        ("ssl=true", "sslmode="),
    ],
)
def test_what_makes_no_sense_is_named(query: str, words: str) -> None:
    with pytest.raises(InvalidSettingsError, match=words) as refused:
        parse_url(f"postgresql://u:hidden@h/d?{query}")
    assert "hidden" not in str(refused.value)


def test_an_unknown_word_may_be_the_rest_of_a_password_and_is_not_shown() -> None:
    with pytest.raises(InvalidSettingsError, match="%3F") as refused:
        parse_url("postgresql://u@h/d?secret=1")
    assert "secret" not in str(refused.value)

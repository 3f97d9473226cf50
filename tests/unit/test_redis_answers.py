"""What an error of Redis means: one table, asked in both ways in which servers say it."""

from __future__ import annotations

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scheduler_core.domain.errors import RefusedForNowError, ServerUnreachableError
from scheduler_core.storage.redis.answers import MEANINGS, Cause, explain, meaning

URL = "redis://:secret@there:7000/0"

WAYS = {
    "plainly": "{code} 1 there:1",
    "out of a script": "{code} said. script: 4a, on @user_script:2.",
    "out of a script, before Redis 7": (
        "ERR Error running script (call to f_4a): @user_script:2: @user_script: 2: -{code} so it is."
    ),
    "out of a script's call, before Redis 7": "ERR Error running script (call to f_4a): @user_script:2: {code} so.",
}


# A redirection comes before a script begins.
SAID = [(code, way) for code in MEANINGS for way in WAYS if way == "plainly" or code not in {"MOVED", "ASK"}]


@pytest.mark.parametrize(("code", "way"), SAID)
def test_an_error_answer_is_known_however_it_is_said(code: str, way: str) -> None:
    error = BaseParser.parse_error(WAYS[way].format(code=code))
    assert meaning(error) is MEANINGS[code]


@pytest.mark.parametrize("answer", [*(f"{code} 1 h:1" for code in MEANINGS), "ERR nobody knows", "NEWCODE says so"])
def test_every_error_answer_is_an_outage_and_says_what_to_do(answer: str) -> None:
    """`hold` looks at nothing but the class."""
    error = explain(BaseParser.parse_error(answer), URL)
    assert isinstance(error, ServerUnreachableError)
    found = MEANINGS.get(answer.partition(" ")[0])
    assert isinstance(error, RefusedForNowError) == (found is None or found.cause is not Cause.SETTING)
    said = str(error)
    assert "there:7000" in said
    assert "secret" not in said
    assert (found.sentence if found else answer.removeprefix("ERR ")) in said


@pytest.mark.parametrize(
    "error", [RedisTimeoutError("t"), RedisConnectionError("gone"), TimeoutError(), OSError(9, "x")]
)
def test_what_is_no_answer_is_none(error: Exception) -> None:
    assert meaning(error) is None
    said = explain(error, URL)
    assert isinstance(said, ServerUnreachableError)
    assert not isinstance(said, RefusedForNowError)

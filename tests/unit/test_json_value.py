"""The form in which arguments are kept; that jsonb agrees is for tests/integration/test_arguments.py to say."""

from __future__ import annotations

import math
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_values import exactly, json_values

from scheduler_core.domain.jobs.json_value import (
    MOST_BYTES,
    MOST_DIGITS,
    NotJsonError,
    as_jsonb,
    fresh_copy,
    is_plain,
    size_in_bytes,
)


class Word(StrEnum):
    RED = "red"


class Colour(str, Enum):  # noqa: UP042 - a kind of its own: what it prints is not what it is
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: float


class Loud(str):
    """Prints something else than it is."""

    __slots__ = ()

    def __str__(self) -> str:
        return "LOUD"


class Odd(int):
    """Adds up to something else."""

    def __add__(self, other: int) -> int:
        return 7


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1e16, 10**16),
        (-1e22, -(10**22)),
        (1e15, 1e15),
        (1.5e300, 15 * 10**299),
        (-0.0, 0.0),
        (1e-7, 1e-7),
        (5e-324, 5e-324),
        ((1, (2, [3])), [1, [2, [3]]]),
        (Point(1, -0.0), [1, 0.0]),
        ({"bb": 1, "a": 2, "é": 3, "": 4}, {"": 4, "a": 2, "bb": 1, "é": 3}),
        ([Word.RED, Colour.RED, Number.ONE, Loud("quiet"), Odd(3), True], ["red", "red", 1, "quiet", 3, True]),
        ({Word.RED: {"b": 1, "a": 2}}, {"red": {"a": 2, "b": 1}}),
        (2**63, 2**63),
        (10**MOST_DIGITS - 1, 10**MOST_DIGITS - 1),
    ],
)
def test_how_a_value_is_kept(value: Any, kept: Any) -> None:
    assert exactly(as_jsonb(value)) == exactly(kept)
    assert is_plain(as_jsonb(value))


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, {"a": [b"x"]}], r"value\[1\]\['a'\]\[0\] is b'x', of type bytes, give JSON values"),
        ({"a": {1: 2}}, r"value\['a'\] has the key 1"),
        ({"a": math.nan}, r"value\['a'\] is nan, which JSON doesn't know"),
        ([-math.inf], r"value\[0\] is -inf"),
        (["a\x00"], r"value\[0\] has a NUL"),
        ({"\ud800": 1}, "value has the key"),
        ([10**MOST_DIGITS], "over 4300 digits"),
        ([-(10**5000)], "over 4300 digits"),
        (HOLDS_ITSELF, "over 50 levels"),
        ([0] * (MOST_BYTES + 1), "over 262144 values"),
        ({1, 2}, "of type set"),
    ],
)
def test_what_is_refused_and_where_it_stands(value: Any, message: str) -> None:
    with pytest.raises(NotJsonError, match=message):
        as_jsonb(value)


@pytest.mark.parametrize(("character", "size"), [("a", 1), ("é", 2), ("한", 3), ("👩", 4), ('"', 2), ("\x01", 6)])
def test_the_limit_counts_what_is_stored_in_utf8(character: str, size: int) -> None:
    fits = character * ((MOST_BYTES - 2) // size)
    assert as_jsonb(fits) == fits
    assert size_in_bytes(fits) == size * len(fits) + 2 <= MOST_BYTES
    with pytest.raises(
        NotJsonError, match=f"takes {size * (len(fits) + 1) + 2} bytes as JSON, give at most {MOST_BYTES}"
    ):
        as_jsonb(fits + character)


def test_a_small_decimal_takes_the_zeros_that_it_has() -> None:
    assert size_in_bytes([1e-7, {"a": 5e-324}, "1e-7"]) == len('[0.0000001, {"a": ') + 326 + len('}, "1e-7"]')


@given(json_values())
def test_what_is_kept_is_kept_as_it_is(value: Any) -> None:
    kept = as_jsonb(value)
    assert exactly(as_jsonb(kept)) == exactly(kept)
    assert exactly(fresh_copy(kept)) == exactly(kept)


@given(st.lists(st.integers() | st.lists(st.integers())) | st.dictionaries(st.text(), st.lists(st.integers())))
def test_a_fresh_copy_shares_nothing_that_can_be_changed(value: Any) -> None:
    copy = fresh_copy(value)
    for one, other in zip(containers_of(value), containers_of(copy), strict=True):
        assert one is not other


def containers_of(value: Any) -> list[Any]:
    if not isinstance(value, (list, dict)):
        return []
    items = value.values() if isinstance(value, dict) else value
    return [value, *(inner for item in items for inner in containers_of(item))]

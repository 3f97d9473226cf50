"""JSON values as Postgres' jsonb gives them back.

A job's arguments are kept in this form from the moment they are declared. So the process that declares a job calls it
with the very values that every other process reads from its row: keys in the same order, numbers of the same kind.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from scheduler_core.domain.wording import shown

MOST_BYTES = 256 * 1024
"""Of the text, in UTF-8, that the database shows for a value."""

MOST_DEPTH = 50
MOST_DIGITS = 4_300
"""Of an integer: Python reads no longer ones, unless it is told to."""

KINDS = "JSON values (str, int, finite float, bool, None, list, dict with str keys)"

# What is printable holds none of these, and is found out without a search.
_NO_JSON = re.compile("[\x00\ud800-\udfff]")
_BEYOND_DIGITS = 10**MOST_DIGITS


class NotJsonError(ValueError):
    """A value that JSON, or Postgres, doesn't have. The message says where in the whole it stands.

    Parameters: has_place, whether a part of the whole is to blame; is_of_other_type, whether JSON has no such type.
    """

    def __init__(self, problem: str, *, has_place: bool = True, is_of_other_type: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.is_of_other_type = is_of_other_type
        self.steps: list[int | str] = []
        """The way to it, from within: indices and keys."""
        self._has_place = has_place

    def __str__(self) -> str:
        place = "".join(f"[{shown(step)}]" for step in reversed(self.steps))
        return f"value{place} {self.problem}" if self._has_place else self.problem


def as_jsonb(value: Any) -> Any:
    """A copy of `value` as jsonb gives it back.

    Keys are ordered by their length in UTF-8, then by their bytes. Numbers are decimals there: 1e16 comes back as an
    integer, -0.0 as 0.0. Tuples are lists, and what is a str, an int or a float by inheritance is just that.

    Raises NotJsonError; also for what takes more than MOST_BYTES, is nested deeper than MOST_DEPTH, or holds an
    integer of more than MOST_DIGITS.
    """
    copy = _Copying().of(value, 0)
    size = size_in_bytes(copy)
    if size > MOST_BYTES:
        raise NotJsonError(
            f"takes {size} bytes as JSON, give at most {MOST_BYTES}: store large data elsewhere and pass where it is",
            has_place=False,
        )
    return copy


def size_in_bytes(value: Any) -> int:
    """The length in UTF-8 of the text that Postgres shows for a value that `as_jsonb` gave."""
    try:
        text = write_json(value)
    except ValueError as error:
        # A process may have been told to write shorter integers only.
        raise NotJsonError(f"can't be written as JSON ({error}), give smaller values", has_place=False) from None
    size = len(text) if text.isascii() else len(text.encode())
    return size + _zeros_of(value) if "e-" in text else size


def is_plain(value: Any) -> bool:
    """Whether JSON has every type in `value`, tuples beside lists; False for a str by inheritance, say.

    For values that `as_jsonb` accepts: others may have no end.
    """
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if kind is list or kind is tuple:
        return all(map(is_plain, value))
    return value is None or kind in (str, int, float, bool)


def fresh_copy(value: Any) -> Any:
    """A JSON value whose lists and dicts are nobody else's."""
    if isinstance(value, dict):
        return {key: fresh_copy(item) for key, item in value.items()}
    return [fresh_copy(item) for item in value] if isinstance(value, list) else value


# With the spaces that Postgres puts into the text of a jsonb.
write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class _Copying:
    """One copy of one value. A small list that holds itself many times over unfolds without end: it is counted."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MOST_BYTES

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if depth > MOST_DEPTH or self._left < 0:
            problem = f"is nested over {MOST_DEPTH} levels deep or holds over {MOST_BYTES} values"
            raise NotJsonError(problem, has_place=False)
        if isinstance(value, str):
            return _text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return _whole_number(value)
        if isinstance(value, float):
            return _number(value)
        if isinstance(value, dict):
            return self._of_dict(value, depth + 1)
        if isinstance(value, (list, tuple)):
            return self._of_list(value, depth + 1)
        problem = f"is {shown(value)}, of type {type(value).__name__}, give {KINDS}"
        raise NotJsonError(problem, is_of_other_type=True)

    def _of_list(self, items: Any, depth: int) -> list[Any]:
        kept = []
        for index, item in enumerate(items):
            try:
                kept.append(self.of(item, depth))
            except NotJsonError as error:
                error.steps.append(index)
                raise
        return kept

    def _of_dict(self, items: dict[Any, Any], depth: int) -> dict[str, Any]:
        kept = {}
        for key, item in items.items():
            if not isinstance(key, str) or _has_no_place(key):
                problem = f"has the key {shown(key)}, which is no string that Postgres keeps, give {KINDS}"
                raise NotJsonError(problem, is_of_other_type=not isinstance(key, str))
            try:
                kept[str.__str__(key)] = self.of(item, depth)
            except NotJsonError as error:
                error.steps.append(key)
                raise
        return dict(sorted(kept.items(), key=_place_of_key)) if len(kept) > 1 else kept


def _place_of_key(item: tuple[str, Any]) -> tuple[int, bytes]:
    encoded = item[0].encode()
    return len(encoded), encoded


def _has_no_place(text: str) -> bool:
    return not text.isprintable() and _NO_JSON.search(text) is not None


# The methods of the plain types themselves: a type that inherits may have others.


def _text(value: str) -> str:
    if _has_no_place(value):
        raise NotJsonError("has a NUL character or a lone surrogate, which Postgres refuses")
    return str.__str__(value)


def _whole_number(value: int) -> int:
    plain = int.__add__(value, 0)
    if not -_BEYOND_DIGITS < plain < _BEYOND_DIGITS:
        raise NotJsonError(f"can't be written as JSON, it has over {MOST_DIGITS} digits, give a smaller number")
    return plain


def _number(value: float) -> float | int:
    if not math.isfinite(value):
        raise NotJsonError(f"is {float.__repr__(value)}, which JSON doesn't know, give a finite number")
    text = float.__repr__(value)
    return int(Decimal(text)) if "e+" in text else float.__add__(value, 0.0)


def _zeros_of(value: Any) -> int:
    """How many characters more the decimals in `value` have, all told, than Python writes: 1e-07 is 0.0000001."""
    if isinstance(value, dict):
        return sum(map(_zeros_of, value.values()))
    if isinstance(value, list):
        return sum(map(_zeros_of, value))
    if isinstance(value, float) and "e-" in (text := repr(value)):
        return len(format(Decimal(text), "f")) - len(text)
    return 0

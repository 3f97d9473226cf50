"""Arguments of types that JSON doesn't have: written as JSON, and read back by what a parameter's annotation says.

pydantic reads and writes them, strictly: where an annotation says int, "5" is none. (A pydantic model's own config
decides about its fields.) What JSON has a type for is left as it is: no annotation changes it.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from scheduler_core.domain.jobs.json_value import NotJsonError, as_jsonb, is_plain, write_json
from scheduler_core.domain.wording import shown

_CONFIG = ConfigDict(strict=True, ser_json_bytes="base64", val_json_bytes="base64")

_OF_JSON = (Any, object, None, type(None), str, int, float, bool, list, dict, typing.LiteralString)
_LISTS = (list, *(getattr(collections.abc, name) for name in ("Sequence", "MutableSequence", "Collection", "Iterable")))
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class UnreadableTypeError(Exception):
    """An annotation that says nothing about how to read a value back."""


class ArgumentType:
    """What a parameter's annotation says, where JSON has no such type.

    Parameters: annotation, resolved; takes_none, whether None is taken too, as by a parameter whose default it is.
    Raises UnreadableTypeError if pydantic can make nothing of it.
    """

    __slots__ = ("_adapter", "name")

    def __init__(self, annotation: Any, *, takes_none: bool = False) -> None:
        self.name = inspect.formatannotation(annotation)
        if typing.get_origin(annotation) is collections.abc.Callable or annotation is collections.abc.Callable:
            raise UnreadableTypeError("a callable can't be read from JSON")
        try:
            # In a list: a dataclass by itself takes no config.
            self._adapter = TypeAdapter[list[Any]](
                list[typing.Optional[annotation] if takes_none else annotation],  # type: ignore[arg-type,misc]  # noqa: UP045
                config=_CONFIG,
            )
        except Exception as error:
            # Types bring code of their own, which may raise anything.
            raise UnreadableTypeError(_first_line(error)) from error
        if not self._adapter.pydantic_complete:
            raise UnreadableTypeError("it names a type that is not defined yet")

    def write(self, value: Any) -> Any:
        """`value` as the JSON that `read` makes an equal one of. Raises ValueError where there is none."""
        if is_json(value) and is_plain(value):
            return self._as_stored(value)
        try:
            written = as_jsonb(self._adapter.dump_python([value], mode="json", warnings="error", by_alias=False)[0])
            back = self.read(written)
        except Exception as error:  # noqa: BLE001 - types bring code of their own
            problem = _why_not_written(error)
        else:
            if _says_the_same(value, back):
                return written
            problem = f"it comes back as {shown(back)}, of type {type(back).__name__}"
        if is_json(value):
            return self._as_stored(value)
        raise ValueError(
            f"is {shown(value)}, of type {type(value).__name__}, which can't be stored as {self.name}: {problem}"
        )

    def read(self, stored: Any) -> Any:
        """The value that stored JSON stands for. Raises ValueError if it stands for none."""
        try:
            return self._adapter.validate_json(write_json([stored]), by_alias=True, by_name=True)[0]
        except ValidationError as error:
            raise ValueError(_first_problem(error)) from None
        except Exception as error:
            # Types bring code of their own, which may raise anything.
            raise ValueError(_first_line(error)) from error

    def _as_stored(self, value: Any) -> Any:
        """JSON, which is what the database would hold."""
        stored = as_jsonb(value)
        try:
            self.read(stored)
        except ValueError as error:
            raise ValueError(f"is {shown(value)}, which can't be read as {self.name}: {error}") from None
        return stored


def is_json(value: Any) -> bool:
    """Whether JSON can say it as it is."""
    try:
        as_jsonb(value)
    except NotJsonError:
        return False
    return True


def is_of_json(annotation: Any) -> bool:
    """Whether an annotation names nothing but what JSON has: values are then handed over as they are."""
    return _is_of_json(annotation, ())


def _is_of_json(annotation: Any, above: tuple[Any, ...]) -> bool:
    if any(annotation is one for one in (*_OF_JSON, *_LISTS, *_DICTS, inspect.Parameter.empty)):
        return True
    if any(annotation is one or getattr(annotation, "__forward_arg__", annotation) == one.__name__ for one in above):
        # An alias that names itself is what the rest of it is.
        return True
    if type(annotation).__name__ == "TypeAliasType":
        # Of `typing`, which has it from Python 3.12 on, or of its backport.
        return _is_of_json(annotation.__value__, (*above, annotation))
    if (behind := _behind(annotation)) is not None:
        return _is_of_json(behind, above)
    if hasattr(annotation, "__total__") and isinstance(annotation, type):
        # A TypedDict, of `typing` or of its backport.
        return all(_is_of_json(hint, (*above, annotation)) for hint in typing.get_type_hints(annotation).values())
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType) or origin in _LISTS:
        return all(_is_of_json(part, above) for part in parts)
    if origin in _DICTS:
        return not parts or (parts[0] in (str, Any) and _is_of_json(parts[1], above))
    return origin is typing.Literal and is_plain(list(parts))


def _behind(annotation: Any) -> Any:
    """What an annotation is another name of; None for what is none."""
    if isinstance(annotation, typing.TypeVar):
        return annotation.__bound__ or Any
    if typing.get_origin(annotation) is typing.Annotated:
        return typing.get_args(annotation)[0]
    return annotation.__supertype__ if isinstance(annotation, typing.NewType) else None


def _says_the_same(given: Any, back: Any) -> bool:
    if isinstance(given, datetime) and isinstance(back, datetime) and given.tzinfo and back.tzinfo:
        # The same instant: an hour that the clocks repeat equals none of another zone (PEP 495).
        return given.astimezone(UTC) == back.astimezone(UTC)
    if isinstance(given, (list, tuple)) and type(given) is type(back):
        return len(given) == len(back) and all(map(_says_the_same, given, back))
    if isinstance(given, dict) and isinstance(back, dict):
        return given.keys() == back.keys() and all(_says_the_same(item, back[key]) for key, item in given.items())
    try:
        # A member of an IntEnum equals the number that it may have come back as.
        return bool(given == back) and isinstance(given, Enum) == isinstance(back, Enum)
    except Exception:  # noqa: BLE001 - somebody else's __eq__ may raise anything
        return False


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = "".join(f"[{part!r}]" for part in first["loc"][1:])
    return " ".join(f"{place} {first['msg']}".split())


def _why_not_written(error: Exception) -> str:
    if isinstance(error, PydanticSerializationError) and "Pydantic serializer warnings" in str(error):
        return "it is or holds something else"
    return str(error) if type(error) is ValueError or isinstance(error, NotJsonError) else _first_line(error)


def _first_line(error: Exception) -> str:
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 - an exception whose text raises
        lines = []
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__

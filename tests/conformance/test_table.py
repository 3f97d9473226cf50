"""The table knows every port, and every implementation of one; and each takes what the port says, by its names."""

from __future__ import annotations

import inspect

import pytest

from .table import LOOKS_LIKE_ONE, ROOT, TABLE, candidates, find, members, protocols

PAIRS = [
    (port, place, method)
    for port, row in TABLE.items()
    for place in row.implementations
    if inspect.isclass(find(place))
    for method in members(protocols()[port])
    if method not in row.lacks.get(place, (frozenset(), ""))[0]
]


def test_every_port_is_in_the_table() -> None:
    assert TABLE.keys() == protocols().keys()


def test_every_implementation_is_in_the_table() -> None:
    """Whoever has all the methods of a port is one."""
    classes = list(candidates())
    found = {
        (port, place)
        for port, protocol in protocols().items()
        for place, methods in classes
        if members(protocol).keys() <= methods
    }
    named = {(port, place) for port, row in TABLE.items() for place in row.implementations}
    assert found - named == LOOKS_LIKE_ONE.keys()


def test_each_port_is_asked_somewhere() -> None:
    assert [path for row in TABLE.values() for path in row.asked_by if not (ROOT / path).is_file()] == []


def test_what_is_lacking_is_not_there() -> None:
    there = [
        (port, place, method)
        for port, row in TABLE.items()
        for place, (methods, _) in row.lacks.items()
        for method in methods
        if hasattr(find(place), method)
    ]
    assert there == []


@pytest.mark.parametrize(("port", "place", "method"), PAIRS, ids=lambda value: value.rpartition(".")[2])
def test_a_method_takes_what_the_port_says(port: str, place: str, method: str) -> None:
    """By position and by name, as whoever goes by the port may call it."""
    wanted = inspect.signature(getattr(protocols()[port], method)).parameters
    given = inspect.signature(getattr(find(place), method)).parameters
    for name, parameter in wanted.items():
        assert name in given, f"{place}.{method} has no {name!r}: {list(given)}"
        assert given[name].kind in (parameter.kind, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if parameter.default is not inspect.Parameter.empty:
            assert given[name].default is not inspect.Parameter.empty
    extra = [item for name, item in given.items() if name not in wanted]
    assert all(
        item.default is not inspect.Parameter.empty or item.kind in (item.VAR_KEYWORD, item.VAR_POSITIONAL)
        for item in extra
    )

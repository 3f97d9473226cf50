"""The engine's parts are joined by objects with a name, and none of them grows beyond what one reads at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ENGINE = Path(__file__).parents[2] / "scheduler_core" / "engine"

MOST_LINES = 400
MOST_LINES_OF_SCHEDULER = 340
"""Docstrings don't count: those of the public names are looked up one by one, and not read through."""
MOST_FUNCTIONS_GIVEN = 6

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

THE_USERS = {("Callback", "function")}
"""A function that is no joint between parts, but what all of it is for."""


def functions_given(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Parameters of constructors, and fields, whose value is a function."""
    for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for node in cls.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                for given in (*node.args.args, *node.args.kwonlyargs):
                    if given.annotation is not None and "Callable[" in ast.unparse(given.annotation):
                        yield cls.name, given.arg
            elif isinstance(node, ast.AnnAssign):
                annotation = ast.unparse(node.annotation)
                if "Callable[" in annotation and "ClassVar[" not in annotation:
                    yield cls.name, ast.unparse(node.target)


def lines_of_code(text: str) -> int:
    """The lines of a file, comments and all, without its docstrings."""
    of_docstrings = 0
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            of_docstrings += (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return len(text.splitlines()) - of_docstrings


def test_no_file_is_longer_than_one_reads_at_once() -> None:
    lines = {path.name: lines_of_code(path.read_text(encoding="utf-8")) for path in ENGINE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    assert lines["scheduler.py"] <= MOST_LINES_OF_SCHEDULER


def test_parts_are_joined_by_objects() -> None:
    found = [
        given
        for path in sorted(ENGINE.rglob("*.py"))
        for given in functions_given(ast.parse(path.read_text(encoding="utf-8")))
        if given not in THE_USERS
    ]
    assert len(found) <= MOST_FUNCTIONS_GIVEN, found

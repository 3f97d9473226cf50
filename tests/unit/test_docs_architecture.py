"""docs/architecture.md: its picture is that of the contracts, and each file and name on it is there."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

LINK = re.compile(r"\[(\w+)\]\(\.\./([\w/]+\.py)\)((?:,? ?`[\w.]+`)*)")
"""A file's name as a link, and what is named in it right behind."""

IN_FILE = [(file, name) for _, file, names in LINK.findall(PAGE) for name in re.findall(r"`([\w.]+)`", names)]
STEPS = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", PAGE, re.MULTILINE)
TASKS = [part for part in re.split(r"^(?=##)", PAGE, flags=re.MULTILINE) if part.startswith("### ")]


def test_the_picture_is_that_of_the_contracts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    picture = PAGE.partition("```text\n")[2].partition("```")[0]
    drawn = [re.split(r" {3,}", line.strip())[0] for line in picture.splitlines()]
    assert drawn == [layer.replace("scheduler_core.", "") for layer in layers]


@pytest.mark.parametrize(
    "label", sorted({(label, file) for label, file, _ in LINK.findall(PAGE)}), ids=lambda label: label[1]
)
def test_a_link_bears_the_name_of_its_file(label: tuple[str, str]) -> None:
    name, file = label
    assert (ROOT / file).is_file()
    assert name in {Path(file).stem, Path(file).parent.name}


@pytest.mark.parametrize(("file", "name"), sorted(set(IN_FILE)))
def test_what_is_named_in_a_file_is_there(file: str, name: str) -> None:
    assert name in _names_of(file)


def test_each_name_in_the_walk_and_the_lists_has_its_file() -> None:
    assert [number for number, _ in STEPS] == [str(n) for n in range(1, len(STEPS) + 1)]
    assert all(LINK.sub("", where).replace(";", "").strip() == "" for _, where in STEPS), "a file, and names in it"
    assert len(TASKS) == 7
    everywhere = frozenset[str]().union(*(_names_of(file) for _, file, _ in LINK.findall(PAGE)))
    for task in TASKS:
        for name in re.findall(r"`(_?[A-Z]\w+(?:\.\w+)?)`", task):
            assert name in everywhere, name


@cache
def _names_of(file: str) -> frozenset[str]:
    """What a module defines: functions, constants, classes, and `Class.method`."""
    names: set[str] = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        names |= _defined(node)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{name}" for part in node.body for name in _defined(part)}
    return frozenset(names)


def _defined(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Assign():
            return {target.id for target in node.targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case _:
            return set()

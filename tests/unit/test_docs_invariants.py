"""docs/invariants.md: what it names is there, and what uses the names of invariants stands on it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from model.invariants import Invariant
from model.test_protocol import BREAKS

from scheduler_core.drill.verdict import PROMISES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "invariants.md").read_text(encoding="utf-8")

PARTS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ROWS = {name: dict(re.findall(r"^\| (\S[^|]*) \| (.*) \|$", part, re.MULTILINE)) for name, part in PARTS.items()}

NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PLACE = re.compile(r"((?:`\w+`(?: and )?)+) in `([\w/]+\.py)`")


def test_every_invariant_has_its_part_and_no_other() -> None:
    assert list(PARTS) == [invariant.name for invariant in Invariant]
    assert all(list(rows) == ["held by", "asked by", "broken by", "drill"] for rows in ROWS.values())


@pytest.mark.parametrize("name", PARTS)
def test_the_code_that_holds_it_is_there(name: str) -> None:
    held = PLACE.findall(ROWS[name]["held by"])
    assert held
    for names, file in held:
        text = (ROOT / file).read_text(encoding="utf-8")
        for thing in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^ *(?:async )?(?:def )?{thing}\b(?: = |\()", text, re.MULTILINE), (thing, file)


@pytest.mark.parametrize("name", PARTS)
def test_the_tests_that_ask_for_it_are_there(name: str) -> None:
    assert NODE.search(ROWS[name]["asked by"])
    for file, function in NODE.findall(PARTS[name]):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in found, (file, function)


@pytest.mark.parametrize("name", PARTS)
def test_what_breaks_it_on_purpose_does(name: str) -> None:
    """The search of the model asserts that each of these mutants breaks just this one."""
    named = set(re.findall(r"`([A-Z_]+)`", ROWS[name]["broken by"]))
    assert named == {mutant.name for mutant, (invariant, _) in BREAKS.items() if invariant.name == name}


@pytest.mark.parametrize("name", PARTS)
def test_the_findings_that_break_it_are_those_of_the_drill(name: str) -> None:
    named = set(re.findall(r"`(\w+)`", ROWS[name]["drill"]))
    assert named == {kind.value for kind, promise in PROMISES.items() if promise.startswith(f"{name}:")}


def test_no_text_uses_a_name_that_the_page_does_not_define() -> None:
    used: dict[str, str] = {}
    for folder in ("scheduler_core", "storage", "docs", "tests", "bench"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md"} and "vendor" not in path.parts and path != Path(__file__):
                for name in re.findall(r"\b([IL]\d)(?=: |\)|\. |, | to [IL]\d)", path.read_text(encoding="utf-8")):
                    used.setdefault(name, str(path.relative_to(ROOT)))
    assert {name: where for name, where in used.items() if name not in PARTS} == {}
    assert used.keys() == PARTS.keys()


@pytest.mark.parametrize(
    "page", ["README.md", "docs/index.md", "docs/architecture.md", "docs/failover.md", "docs/protocol.md"]
)
def test_the_pages_that_readers_come_from_link_to_it(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert re.search(r"\]\((?:docs/)?invariants\.md\)|^invariants$", text, re.MULTILINE)

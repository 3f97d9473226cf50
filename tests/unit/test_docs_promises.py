"""docs/promises.md: each sentence on what the record can't know names the test that holds it, and that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
PART = PAGE.partition("## What the record can't know")[2].partition("\n## ")[0]
SAID = [text for text in re.split(r"\n(?=- \*\*)|\n\n", PART) if text.strip()][1:]
NODE = re.compile(r"\(`(tests/[\w/]+\.py)::(\w+)`\)$")


@pytest.mark.parametrize("said", SAID, ids=lambda said: said[:40])
def test_what_is_said_names_its_test(said: str) -> None:
    named = NODE.search(said.strip())
    assert named, said
    tree = ast.parse((ROOT / named[1]).read_text(encoding="utf-8"))
    assert named[2] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_there_is_something_said() -> None:
    assert len(SAID) >= 5


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/audit-log.md"])
def test_the_pages_that_readers_come_from_link_to_it(page: str) -> None:
    assert "promises.md" in (ROOT / page).read_text(encoding="utf-8")

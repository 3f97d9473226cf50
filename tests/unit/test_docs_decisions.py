"""docs/decisions: each page says what would change our mind, in something that can be counted, and is in the list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
HEADING = "What would change our mind"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_says_what_would_change_our_mind(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [HEADING]
    said = [" ".join(one.split()) for one in re.split(r"^- ", text.partition(f"## {HEADING}\n")[2], flags=re.MULTILINE)]
    said = [one for one in said if one]
    assert said
    for one in said:
        # With the names of settings, files and versions left out: what is left is counted or measured.
        assert re.search(r"\d|more often than|in fewer|that can't", re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", "", one)), one
        assert ": then " in one, one


def test_the_list_names_each_with_its_title() -> None:
    listed = re.findall(r"^- \[(.*)\]\((.*)\)$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [
        (page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# "), page.name) for page in PAGES
    ]

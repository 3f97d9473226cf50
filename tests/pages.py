"""The pages of the documentation, as their code blocks.

CommonMark's own parser (markdown-it-py, which `rich` brings along) says what a block is. A comment just above a block
says what a reader is told in prose, in words for machines:

    <!-- file: app.py -->       the block is the content of this file
    <!-- stays: leading -->     the command goes on while the page is read; it is up once it has said this
    <!-- exits: 1 0 -->         its commands end with these codes, which the prose says too
    <!-- prints -->             what the commands before it print
    <!-- installs -->           only a run in a clean environment carries it out (`python -m tests.newcomer`)
    <!-- not run: why -->       nobody carries it out
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]

_NOTE = re.compile(r"<!--\s*(file|stays|exits|prints|installs|not run)(?::\s*(.*?))?\s*-->")


@dataclass(frozen=True)
class Block:
    """A code block: the page it stands on, the line of its first line, its language, its text, and its notes."""

    page: str
    line: int
    language: str
    text: str
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that a user reads. What is written from code (docs/reference) has no blocks."""
    written = [path for path in (ROOT / "docs").rglob("*.md") if "reference" not in path.relative_to(ROOT).parts]
    return sorted([*written, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "examples").rglob("*.md")])


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order; those that are a directive of the site's generator are none."""
    found = []
    notes: dict[str, str] = {}
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            notes = {name: words or "" for name, words in _NOTE.findall(token.content)}
        elif token.type in {"fence", "code_block"}:
            assert token.map is not None
            language = token.info.split()[0] if token.info.strip() else ""
            if not language.startswith("{"):
                is_fence = token.type == "fence"
                first = token.map[0] + (2 if is_fence else 1)
                where = str(page.relative_to(ROOT))
                found.append(Block(where, first, language if is_fence else "", token.content, notes))
            notes = {}
        else:
            notes = {}
    return found

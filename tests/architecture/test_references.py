"""What a page, a docstring or a comment refers its reader to is there to be read: it ships with the repository."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FOLDERS = ("alembic", "bench", "deploy", "docs", "examples", "scheduler_core", "storage", "tests")
TEXT = {".md", ".mako", ".py", ".sql", ".toml", ".yaml", ".yml"}

OF_OTHERS = {"BRIN", "FLUSHALL"}
"""Words in capitals that mean what they mean outside of this repository."""

FILE = re.compile(r"(?<![\w/.-])(?:\.\.?/)*((?:[\w-]+/)*[\w-]+\.(?:py\.mako|md|py|sql|toml|yaml|yml|txt|json|svg))\b")
PLACE = re.compile(r"\b[Ss]ections? \d|§ ?\d")
SOURCE = re.compile(
    r"\b([A-Z]{4,}): [\w./-]+ #\d"
    r"|\(([A-Z]{4,})(?:[,:] [^()]*)?\)"
    r"|\b([A-Z]{4,}) says\b"
)
"""A word in capitals where a source would stand: before a thread of another project, in brackets, "says"."""


def problems(text: str, words: Set[str], files: Set[str]) -> Iterator[str]:
    """What this text refers to that nobody can look up.

    Parameters: words, in capitals, that the code itself uses; files, that there are, from the root.
    """
    for found in FILE.finditer(text):
        name = found[1]
        # Other names are files of the reader's own: `app.py`, `scheduler.toml`.
        is_ours = name.endswith(".md") or name.partition("/")[0] in FOLDERS
        if is_ours and not any(file == name or file.endswith(f"/{name}") for file in files):
            yield f"{name}: there is no such file"
    for found in PLACE.finditer(text):
        yield f"{found[0]}: a place that has a number and no name; link to a heading"
    for found in SOURCE.finditer(text):
        source = next(group for group in found.groups() if group)
        if source not in words | OF_OTHERS:
            yield f"{found[0]}: {source} is nothing that can be looked up"


@cache
def shipped() -> dict[Path, str]:
    """Every text of the repository, by its file; of Python and SQL what is written for people."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + [*ROOT.glob("*.md")]
    return {
        path: _for_people(path)
        for path in sorted(found)
        if path.suffix in TEXT and not {"__pycache__", "vendor", "node_modules"} & set(path.parts)
    }


@cache
def words_of_code() -> frozenset[str]:
    """Words in capitals that stand in code: names of constants, SQL, signals."""
    return frozenset().union(*(_comments(path)[1] for path in shipped() if path.suffix == ".py"))


@cache
def names() -> frozenset[str]:
    """Every file of the repository, from its root."""
    return frozenset(
        str(path.relative_to(ROOT))
        for place in (*((ROOT / folder).rglob("*") for folder in FOLDERS), ROOT.glob("*"))
        for path in place
        if path.is_file()
    )


def _for_people(path: Path) -> str:
    if path.suffix == ".py":
        return _comments(path)[0]
    text = path.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"--.*", text)) if path.suffix == ".sql" else text


@cache
def _comments(path: Path) -> tuple[str, frozenset[str]]:
    """The comments and docstrings of a module; and the words in capitals that its code uses."""
    said: list[str] = []
    words: set[str] = set()
    begins = True
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and begins):
            said.append(token.string)
        elif token.type in {tokenize.NAME, tokenize.STRING}:
            words.update(re.findall(r"[A-Z]{4,}", token.string))
        if token.type not in {tokenize.COMMENT, tokenize.NL}:
            begins = token.type in {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    return "\n".join(said), frozenset(words)


@pytest.mark.parametrize("folder", [*FOLDERS, "."])
def test_what_is_referred_to_is_there(folder: str) -> None:
    """A reader of this repository has this repository: say it here, or link to the page that does."""
    found = {
        str(path.relative_to(ROOT)): bad
        for path, text in shipped().items()
        if (path.relative_to(ROOT).parts[0] if len(path.relative_to(ROOT).parts) > 1 else ".") == folder
        and (bad := list(problems(text, words_of_code(), names())))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("text", "is_fine"),
    [
        ("(ATLAS: river #217) renews once per TTL", False),
        ("ATLAS: oban #1488, a node that took itself for the leader", False),
        ("where a replica stands (ATLAS, section 4)", False),
        ("a contract (ATLAS)", False),
        ("ATLAS says what each field may be", False),
        ("as ATLAS.md has it", False),
        ("see section 4", False),
        ("see docs/no-such-page.md", False),
        ("see tests/unit/test_nothing.py", False),
        ("(river #217) renews once per TTL", True),
        ("answers what is due (SELECT), then waits", True),
        ("see docs/failover.md, ../README.md and [the page](failover.md)", True),
        ("in your app.py or scheduler.toml", True),
    ],
)
def test_what_can_not_be_looked_up_is_found(text: str, is_fine: bool) -> None:
    assert (not list(problems(text, {"SELECT"}, names()))) is is_fine

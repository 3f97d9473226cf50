"""docs/audit.md as data: each question with its statement. The page is the source, for measures and for tests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "audit.md"

_PARAMETER = re.compile(r":'(\w+)'")


def questions() -> dict[str, str]:
    """Heading → statement, in the page's order; each section of the third level holds one."""
    found: dict[str, str] = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n### ")[1:]:
        question, _, rest = section.partition("\n")
        statements = re.findall(r"^```sql\n(.*?)^```$", rest, re.MULTILINE | re.DOTALL)
        if len(statements) != 1 or question in found:
            raise ValueError(f"{PAGE}: the section {question!r} must stand once and hold one statement")
        found[question] = statements[0]
    return found


def parameters(statement: str) -> set[str]:
    """The names of psql's parameters in a statement."""
    return set(_PARAMETER.findall(statement))


def filled(statement: str, given: Mapping[str, str]) -> str:
    """The statement with its parameters as psql puts them in: quoted, and of no type yet."""
    return _PARAMETER.sub(lambda name: "'" + given[name[1]].replace("'", "''") + "'", statement)

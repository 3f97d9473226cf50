"""Where in a file a job's field stands. tomllib tells no places, and is asked again only after an error."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any


def line_of(text: str, job_id: str, field: str | None) -> int | None:
    """The line, from 1, of the field in the job's table; of the table's head where the field is not found.

    None if the job is written in a way that this does not follow (`jobs.a.every = 30`): a hint, not a parser.
    """
    head: int | None = None
    in_table = False
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            path = _head(stripped)
            if path[:2] == ["jobs", job_id]:
                head = number if head is None else head
                in_table = True
                if path[2:3] == [field]:
                    return number
            elif path:
                in_table = False
        elif in_table and field is not None:
            key, equals, _ = stripped.partition("=")
            if equals and key.strip().strip("\"'").partition(".")[0].strip() == field.strip("\"'"):
                return number
    return head


def _head(line: str) -> list[str]:
    """The path that a table's head names; empty if the line is none."""
    try:
        return list(_path(tomllib.loads(line)))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return []


def _path(table: Any) -> Iterator[str]:
    while isinstance(table, dict) and len(table) == 1:
        ((key, table),) = table.items()
        yield key

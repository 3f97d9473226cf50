"""Rows as lines of CSV or of JSON: instants as ISO 8601 in UTC, durations in seconds, nothing lost.

A spreadsheet takes a cell that begins with =, +, - or @ for a formula, and job names and error messages are
anybody's text (CWE-1236). In CSV such a text gets an apostrophe in front, and is no formula any more; so does a text
that begins with an apostrophe itself. Hence a reader takes one apostrophe off each text that begins with one, and has
the original. Numbers, instants and ids are ours and stay as they are; JSON lines need no such thing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from scheduler_core.domain.wording import plain

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")

Render = Callable[[Iterable[Sequence[Any]]], str]


class Format(StrEnum):
    """How an export is written."""

    CSV = "csv"
    JSONL = "jsonl"


def header(kind: Format, columns: Sequence[str]) -> str:
    """What stands before all rows."""
    return _csv([columns]) if kind is Format.CSV else ""


def renderer(kind: Format, columns: Sequence[str]) -> Render:
    """Turns rows, as the columns are, into text."""
    return _csv if kind is Format.CSV else lambda rows: "".join(_json(columns, row) for row in rows)


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    # Lines end as RFC 4180 has it: then a lone \r or \n inside of a cell is quoted by every version of the writer.
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str | int | None:
    match value:
        case None | bool() | int():
            return value
        case timedelta():
            return f"{value.total_seconds():.6f}"
        case datetime():
            return _instant(value)
        case str():
            return f"'{value}" if value.startswith(FORMULA_STARTS) else value
        case _:
            return str(plain(value))


def _json(columns: Sequence[str], row: Sequence[Any]) -> str:
    values = [_instant(value) if isinstance(value, datetime) else value for value in row]
    return json.dumps(dict(zip(columns, values, strict=True)), default=plain, ensure_ascii=False) + "\n"


def _instant(value: datetime) -> str:
    # Of one width, so that text sorts as time does.
    return value.astimezone(UTC).isoformat(timespec="microseconds")

"""Rows as CSV and JSON lines: what is written is what a reader gets back, whatever the text."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_core.domain.runs.export_lines import FORMULA_STARTS, Format, header, renderer

COLUMNS = ["job_id", "error"]


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def as_csv(*row: Any) -> list[str]:
    (read,) = cells(renderer(Format.CSV, [str(n) for n in range(len(row))])([row]))
    return read


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_any_text_comes_back_from_csv(text: str) -> None:
    read = as_csv("job", text, 7)[1]
    assert read.removeprefix("'") == text
    assert not read.startswith(tuple("=+-@\t\r\n＝＋－＠"))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_json_as_one_line(text: str) -> None:
    line = renderer(Format.JSONL, COLUMNS)([(text, None)])
    assert line.count("\n") == 1
    assert json.loads(line) == {"job_id": text, "error": None}


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_text_that_a_spreadsheet_would_execute_is_text(start: str) -> None:
    """CWE-1236: a job's name and an error's message are anybody's."""
    assert as_csv(f"{start}HYPERLINK()", 1)[0] == f"'{start}HYPERLINK()"


def test_numbers_instants_and_ids_stay_as_they_are() -> None:
    run_id = UUID(int=5)
    instant = datetime(2026, 3, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    row = (-7, timedelta(microseconds=-12), instant, run_id, None, True)
    assert as_csv(*row) == ["-7", "-0.000012", "2026-03-01T12:30:00.000000+00:00", str(run_id), "", "True"]
    (line,) = renderer(Format.JSONL, list("abcdef"))([row]).splitlines()
    assert json.loads(line) == {
        "a": -7,
        "b": -0.000012,
        "c": "2026-03-01T12:30:00.000000+00:00",
        "d": str(run_id),
        "e": None,
        "f": True,
    }
    assert datetime.fromisoformat(json.loads(line)["c"]) == instant.astimezone(UTC)


def test_a_header_is_for_csv_alone() -> None:
    assert cells(header(Format.CSV, COLUMNS)) == [COLUMNS]
    assert header(Format.JSONL, COLUMNS) == ""

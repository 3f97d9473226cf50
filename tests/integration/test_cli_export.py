"""`scheduler runs export`: every row once, in constant memory, and a file that is whole or not there."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import commands
import psycopg
import pytest
from waiting import eventually

from bench.generated import Shape, generate
from scheduler_core import Container
from scheduler_core.cli import export
from scheduler_core.domain.runs.export_lines import Format
from scheduler_core.domain.runs.run_filter import Selection
from scheduler_core.storage.reads.export import PAGE_ROWS, RunExport

Sql = psycopg.Connection[Any]
Export = Callable[..., subprocess.CompletedProcess[bytes]]

COMMAND = [sys.executable, "-m", "scheduler_core.cli", "runs", "export"]
ALL = "SELECT * FROM scheduler_audit.runs ORDER BY (scheduled_for AT TIME ZONE 'UTC')::date, job_id, scheduled_for"
SOME = Shape(rows=3_000, days=3, jobs=20, until=datetime(2026, 3, 4, tzinfo=UTC).date())
SINCE = ("--since", "2026-03-01")
ODD = ["=1+1", 'it\'s, "so"', "two\r\nlines", "\rone", "naïve – 日本語 🙂", " \t ", "'", "\u2028", "-", "@x"]


@pytest.fixture
def run_export(environment: dict[str, str], tmp_path: Path) -> Export:
    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[bytes]:
        done = commands.scheduler("runs", "export", *words, environment=environment, folder=tmp_path)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert b"Traceback" not in done.stderr
        return done

    return run


def rows_of_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))


def texts(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the view as CSV has it."""
    return {name: "" if value is None else text_of(value) for name, value in row.items()}


def text_of(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, timedelta):
        return f"{value / timedelta(seconds=1):.6f}"
    if isinstance(value, str) and value[:1] in tuple("=+-@'\t\r\n"):
        return "'" + value
    return str(value)


def all_rows(sql: Sql) -> list[dict[str, Any]]:
    sql.execute("SET TimeZone = 'UTC'")
    cursor = sql.execute(ALL.replace("job_id,", 'job_id COLLATE "C",'))
    assert cursor.description is not None
    return [dict(zip([c.name for c in cursor.description], row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture
async def history(container: Container, sql: Sql) -> None:
    """A few thousand runs, some of them with text that a file might choke on."""
    await container.prepare()
    await generate(container, SOME)
    for number, text in enumerate(ODD):
        sql.execute(
            "UPDATE scheduler.runs SET error = %s, job_name = %s, cancel_requested_by = %s WHERE run_id = "
            "(SELECT run_id FROM scheduler.runs ORDER BY run_id OFFSET %s LIMIT 1)",
            [text, text, text, number],
        )


def test_what_is_exported_is_what_the_view_shows(history: None, sql: Sql, run_export: Export) -> None:
    expected = all_rows(sql)
    assert len(expected) > 2 * PAGE_ROWS * 0.7
    assert rows_of_csv(run_export(*SINCE).stdout) == [texts(row) for row in expected]
    lines = run_export(*SINCE, "--format", "jsonl").stdout.decode().split("\n")
    assert lines.pop() == ""
    read = [json.loads(line) for line in lines]
    assert [list(row) for row in read[:1]] == [list(expected[0])]
    for row, was in zip(read, expected, strict=True):
        assert (row["job_name"], row["error"], row["run_id"]) == (was["job_name"], was["error"], str(was["run_id"]))
        assert datetime.fromisoformat(row["scheduled_for"]) == was["scheduled_for"]
        assert row["lateness"] == (None if was["lateness"] is None else was["lateness"].total_seconds())
    assert {text for row in read for text in (row["error"],)} >= set(ODD)


def test_a_selection_holds_what_was_asked_for(history: None, sql: Sql, run_export: Export) -> None:
    words = ("--since", "2026-03-01T18:00", "--until", "2026-03-03T06:00:00+02:00")
    begin, end = datetime(2026, 3, 1, 18, tzinfo=UTC), datetime(2026, 3, 3, 4, tzinfo=UTC)
    inside = [row for row in all_rows(sql) if begin <= row["scheduled_for"] < end]
    assert rows_of_csv(run_export(*words).stdout) == [texts(row) for row in inside]
    of_job = [texts(row) for row in inside if row["job_id"] == "job-0001"]
    assert of_job
    assert rows_of_csv(run_export(*words, "--job", "job-0001").stdout) == of_job
    some = [texts(row) for row in inside if row["status"] in ("failed", "missed") and row["job_id"] == "job-0000"]
    assert some
    told = run_export(*words, "--job", "job-0000", "--status", "failed", "--status", "missed").stdout
    assert rows_of_csv(told) == some
    assert rows_of_csv(run_export(*words, "--job", "nobody").stdout) == []
    assert run_export(*words, "--job", "nobody").stdout.startswith(b"run_id,job_id,")
    assert run_export(*words, "--job", "nobody", "--format", "jsonl").stdout == b""


async def test_pages_meet_without_a_gap_whatever_their_size(history: None, container: Container, sql: Sql) -> None:
    selection = Selection(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC))
    expected = [row["run_id"] for row in all_rows(sql)]
    for page_rows in (1_000, 37):
        reader = RunExport(container.get_database(), page_rows=page_rows)
        pages = [page for day in await reader.days(selection) async for page in reader.pages(selection, day)]
        assert max(map(len, pages)) <= page_rows
        assert [row.run_id for page in pages for row in page] == expected  # type: ignore[attr-defined]


class Nowhere(io.RawIOBase):
    """A file that keeps nothing."""

    size = 0

    def write(self, content: Any) -> int:
        self.size += len(content)
        return len(content)


async def test_memory_does_not_grow_with_the_history(container: Container) -> None:
    await container.prepare()
    until = SOME.until
    await generate(container, Shape(rows=40_000, days=8, jobs=20, until=until))
    end = datetime(2026, 3, 4, tzinfo=UTC)

    async def peak(days: int) -> tuple[int, int]:
        file = Nowhere()
        selection = Selection(end - timedelta(days=days), end)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        await export._write(container, selection, Format.CSV, file)  # type: ignore[arg-type]
        return tracemalloc.get_traced_memory()[1] - before, file.size

    await export._write(container, Selection(end - timedelta(days=1), end), Format.CSV, Nowhere())  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        (small, small_size), (large, large_size) = await peak(1), await peak(8)
    finally:
        tracemalloc.stop()
    assert large_size > 7 * small_size
    assert large < 1.25 * small


def test_no_transaction_is_open_while_the_reader_thinks(
    history: None, sql: Sql, environment: dict[str, str], run_export: Export
) -> None:
    """A reader that stalls must pin no snapshot: vacuum would wait for it for hours."""
    process = subprocess.Popen(
        [*COMMAND, *SINCE], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith(b"run_id,")
        # More is to come than the pipe holds, and nobody reads on.
        assert eventually(lambda: {state for _, state in sessions(sql)} == {"idle"})
        assert process.poll() is None
        assert all(xmin is None for xmin, _ in sessions(sql))
        # Nor does it need the session that it read the first page on.
        ended = sql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OF_EXPORT}").fetchall()
        assert ended
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(30)
    assert (process.returncode, errors) == (0, b"")
    assert rest == run_export(*SINCE).stdout.partition(b"\n")[2]


OF_EXPORT = "datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'scheduler%'"


def sessions(sql: Sql) -> list[tuple[Any, str]]:
    return sql.execute(
        f"SELECT coalesce(backend_xid, backend_xmin), state FROM pg_stat_activity WHERE {OF_EXPORT}"
    ).fetchall()


def test_a_reader_that_has_had_enough_is_no_error(history: None, sql: Sql, environment: dict[str, str]) -> None:
    process = subprocess.Popen([*COMMAND, *SINCE], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"run_id,")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_a_file_is_whole_or_not_there(history: None, sql: Sql, run_export: Export, tmp_path: Path) -> None:
    said = run_export(*SINCE, "--output", "runs.csv").stdout
    assert said == f"{len(all_rows(sql)):,} runs are in runs.csv\n".encode()
    assert (tmp_path / "runs.csv").read_bytes() == run_export(*SINCE).stdout
    before = (tmp_path / "runs.csv").read_bytes()
    # Half-way something breaks: what stood there stays, and nothing is left beside it.
    (view,) = sql.execute("SELECT pg_get_viewdef('scheduler_audit.runs'::regclass)").fetchone()  # type: ignore[misc]
    breaks = "definition_version / CASE WHEN scheduled_for < '2026-03-02' THEN 1 ELSE 0 END AS definition_version,"
    sql.execute(f"CREATE OR REPLACE VIEW scheduler_audit.runs AS {view.replace('definition_version,', breaks)}")
    assert b"division by zero" in run_export(*SINCE, "--output", "runs.csv", code=1).stderr
    assert (tmp_path / "runs.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--since", "yesterday"), 2, b"yesterday"),
        (("--since", "2026-03-02", "--until", "2026-03-02"), 2, b"not before"),
        (("--since", "2999-01-01"), 2, b"not before now"),
        ((*SINCE, "--output", "no/such/folder.csv"), 2, b"No such file"),
        ((*SINCE, "--output", "."), 2, b"is no file"),
        ((*SINCE, "--output", "/dev/null"), 2, b"is no file"),
        ((*SINCE, "--output", "x" * 300), 2, b"too long"),
        ((*SINCE, "--format", "xml"), 2, b"xml"),
        ((*SINCE, "--status", "gone"), 2, b"gone"),
        ((), 2, b"--since"),
    ],
)
def test_bad_input_is_one_clear_error(
    run_export: Export, tmp_path: Path, words: tuple[str, ...], code: int, says: bytes
) -> None:
    done = run_export(*words, code=code)
    assert says in done.stderr
    assert done.stdout == b""
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_shows_how_far_it_is_and_a_pipe_does_not(
    history: None, sql: Sql, environment: dict[str, str], run_export: Export, tmp_path: Path
) -> None:
    assert run_export(*SINCE).stderr == b""
    ours, theirs = pty.openpty()
    with (tmp_path / "out.csv").open("wb") as out:
        process = subprocess.Popen(
            [*COMMAND, *SINCE, "--until", "2026-03-04"],
            env=environment | {"TERM": "xterm"},
            stdout=out,
            stderr=theirs,
            stdin=subprocess.DEVNULL,
        )
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65_536):
                shown += piece
        except OSError:
            pass  # the other end is closed: that is how a terminal ends
        os.close(ours)
        assert process.wait(60) == 0
    assert b"3/3 days" in shown
    assert f"{len(all_rows(sql)):,} runs".encode() in shown
    assert (tmp_path / "out.csv").read_bytes() == run_export(*SINCE).stdout

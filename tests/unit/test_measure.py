"""Figures, their goals, their reports and pictures: all that needs no servers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from bench.compare import compare
from bench.goals import AT_LEAST, AT_MOST, with_goal
from bench.picture import draw_svg
from scheduler_core.benchmark import processes
from scheduler_core.benchmark.callbacks import NOTES_VARIABLE, read_notes
from scheduler_core.benchmark.document import as_document, read_figures
from scheduler_core.benchmark.figure import Figure, median, percentile
from scheduler_core.benchmark.lateness import EPOCH, due_in, phases_of
from scheduler_core.benchmark.report import ratios_first, render

SLOW = Figure("throughput.fires_per_second", "durable throughput", 12_500, "fires/s", samples=(12_000, 12_500, 13_000))
SHARE = Figure("throughput.percent_of_limit", "share of <the limit>", 31.5, "%")


def text_of(renderable: object) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize(
    ("sample", "percent", "expected"),
    [([1], 50, 1), ([1, 2], 50, 1), ([1, 2, 3], 50, 2), (list(range(1, 101)), 99, 99), ([1, 2], 99, 2), ([5, 7], 0, 5)],
)
def test_percentiles_are_values_that_were_measured(sample: list[float], percent: float, expected: float) -> None:
    assert percentile(sample, percent) == expected


def test_the_median_does_not_mind_the_order() -> None:
    assert median([9, 1, 5]) == 5


@pytest.mark.parametrize(
    ("goals", "met", "rises"),
    [
        ({"at_least": 10.0}, True, True),
        ({"at_least": 10.1}, False, True),
        ({"at_most": 10.0}, True, False),
        ({"at_most": 9.9}, False, False),
        ({}, None, False),
        ({"more_is_better": True}, None, True),
    ],
)
def test_a_goal_is_met_up_to_itself(goals: dict[str, float], met: bool | None, rises: bool) -> None:
    figure = Figure("key", "says", 10.0, **goals)  # type: ignore[arg-type]
    assert (figure.met, figure.rises) == (met, rises)


def test_every_goal_is_one_way() -> None:
    assert not set(AT_LEAST) & set(AT_MOST)


def test_a_report_puts_ratios_first_and_names_each_missed_goal() -> None:
    figures = [Figure("x", "no goal", 3.0, "s"), with_goal(SLOW), with_goal(SHARE)]
    assert [figure.key for figure in ratios_first(figures)] == [SHARE.key, SLOW.key, "x"]
    said = text_of(render(figures))
    assert said.index("share of <the limit>") < said.index("durable throughput") < said.index("no goal")
    assert "2 goals, 1 missed: durable throughput: 12,500 fires/s, goal ≥ 25,000" in said


def test_a_report_without_missed_goals_says_so() -> None:
    assert "1 goals, all met" in text_of(render([with_goal(SHARE)]))


def test_results_read_back_are_the_same_figures() -> None:
    figures = [with_goal(SLOW), SHARE, Figure("zero", "nothing", 0, "fires", at_most=0)]
    document = json.loads(json.dumps(as_document(figures, label="here")))
    assert read_figures(document) == figures
    assert document["label"] == "here"
    assert document["machine"]["cores"] >= 1
    assert document["figures"]["zero"] == {"says": "nothing", "value": 0, "unit": "fires", "at_most": 0, "met": True}


def test_compare_says_what_became_better_and_what_worse(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    late = Figure("lateness.100.p99_ms", "lateness", 2.0, "ms")
    gone = Figure("gone", "measured no more", 1.0)
    fast = Figure(SLOW.key, SLOW.says, 25_000, SLOW.unit, more_is_better=True)
    before.write_text(json.dumps(as_document([SLOW, late, SHARE, gone])))
    after.write_text(json.dumps(as_document([fast, Figure(late.key, late.says, 4.0, "ms"), SHARE])))
    lines = {line.split("  ")[0]: line for line in text_of(compare(before, after)).splitlines()}
    assert "2.00x" in lines["durable throughput"]
    assert "better" in lines["durable throughput"]
    assert "2.00x" in lines["lateness"]
    assert "worse" in lines["lateness"]
    assert "1.00x" in lines["share of <the limit>"]
    assert "measured no more" not in lines


def test_the_picture_is_xml_that_needs_nothing_else() -> None:
    figures = [
        SLOW,
        Figure("limit.batched", "limit", 60_000, "fires/s", samples=(55_000, 60_000)),
        *(
            Figure(f"lateness.1000.{name}_ms", name, value, "ms")
            for name, value in (("p50", 0.2), ("p99", 2.0), ("max", 5e4))
        ),
        *(
            Figure(f"tick.busy.{n}.{who}_ms", "tick", n / 10, "ms")
            for n in (1_000, 1_000_000)
            for who in ("leader", "postgres")
        ),
        Figure("tick.busy.ratio", "ratio", 1.1, "x"),
        *(Figure(f"memory.{n}.leader_mb", "memory", 90.0, "MB") for n in (1_000, 1_000_000)),
        Figure("memory.leader_mb", "memory", 150.0, "MB"),
    ]
    drawn = draw_svg(figures, "a < b", "c & d")
    root = ET.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for said in (
        "a < b",
        "c & d",
        "12,500 fires/s",
        "60,000 fires/s",
        "1,000 fires/s",
        "1,000,000 jobs stored",
        "150 MB",
    ):
        assert said in words
    assert "goal 25,000 fires/s" in words
    assert "prefers-color-scheme: dark" in drawn


def test_a_picture_of_nothing_is_still_one() -> None:
    ET.fromstring(draw_svg([], "", ""))


@pytest.mark.parametrize("rate", [1, 3, 100, 5_000])
def test_the_fires_that_are_due_are_counted_exactly(rate: int) -> None:
    second = timedelta(seconds=1)
    phases = phases_of(rate)
    since = EPOCH + timedelta(seconds=7, microseconds=123_456)
    for until in (since, since + timedelta(microseconds=1), since + second, since + 2.5 * second):
        instants = [EPOCH + k * second + phase for k in range(6, 12) for phase in phases]
        assert due_in(phases, since, until) == sum(since <= instant < until for instant in instants)


def test_a_note_says_when_a_call_was_due_and_how_late_it_came(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    script = (
        "import asyncio\n"
        "from datetime import UTC, datetime, timedelta\n"
        "from types import SimpleNamespace\n"
        "from scheduler_core.benchmark.callbacks import note\n"
        "due = datetime.now(UTC) - timedelta(seconds=5)\n"
        "asyncio.run(note(SimpleNamespace(scheduled_for=due)))\n"
        "print(due.isoformat())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, NOTES_VARIABLE: str(file)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    ((due, late_ms),) = read_notes(file)
    assert due == datetime.fromisoformat(done.stdout.strip())
    assert late_ms >= 5_000


def test_processes_are_known_by_the_kernel() -> None:
    before = processes.cpu_seconds(os.getpid())
    assert before is not None
    total = sum(n * n for n in range(2_000_000))
    assert total > 0
    after = processes.cpu_seconds(os.getpid())
    assert after is not None
    assert after > before
    tree = processes.tree_cpu_seconds(os.getpid())
    assert tree is not None
    assert tree >= after
    assert (processes.memory_megabytes(os.getpid()) or 0.0) > 1.0
    assert (processes.memory_megabytes(os.getpid(), "VmHWM") or 0.0) > 1.0


def test_a_process_that_has_ended_is_unknown() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(30)
    assert processes.cpu_seconds(process.pid) is None
    assert processes.tree_cpu_seconds(process.pid) is None
    assert processes.memory_megabytes(process.pid) is None

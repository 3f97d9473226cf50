"""docs/track-record.md: what plays a defect again is there, its mend is a commit; the nightly figures."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import nightly
import pytest

from scheduler_core.drill.kinds import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "track-record.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (.+) \| (.+) \| (11-\d\d), `([0-9a-f]{7})` \| `(.+)` \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE)
AGAIN = sorted({again for *_, again in ROWS})
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@cache
def _names_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("again", AGAIN)
def test_what_plays_it_again_is_there(again: str) -> None:
    if again.startswith("tests/"):
        file, _, name = again.partition("::")
        assert name in _names_of(file)
        return
    words = again.split()
    if words[0] == "make":
        assert words[1] in MAKE_TARGETS
        assert all(re.fullmatch(r"[A-Z]+=\w+", word) for word in words[2:])
    else:
        assert words[:2] == ["scheduler", "drill"]
        assert words[words.index("--fault") + 1] in KINDS


def test_a_scene_of_the_simulation_is_one_that_its_test_plays() -> None:
    text = (ROOT / "tests" / "simulation" / "test_findings.py").read_text(encoding="utf-8")
    played = set(re.findall(r"^    (\w+): \w+,$", text.partition("FINDINGS:")[2].partition("}")[0], re.MULTILINE))
    named = {again.partition("::")[2] for again in AGAIN if "test_findings" in again}
    assert named == played, "each finding is on the page"


def test_every_row_is_one_of_the_table() -> None:
    tables = PAGE.partition("\n## Open")[0]
    assert len(ROWS) == sum(line.startswith("| ") for line in tables.splitlines()) - tables.count("| what was wrong |")
    assert len(ROWS) > 70
    assert len({what for what, *_ in ROWS}) == len(ROWS)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the commits are not here")
def test_a_mend_is_a_commit() -> None:
    commits = "\n".join(sorted({commit for *_, commit, _ in ROWS}))
    done = subprocess.run(
        ["git", "cat-file", "--batch-check"], cwd=ROOT, input=commits, capture_output=True, text=True, check=True
    )
    shallow = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    if shallow.stdout.strip() == "true":
        pytest.skip("only the last commits are here")
    assert all(" commit " in line for line in done.stdout.splitlines()), done.stdout


def test_the_nightly_figures_are_those_of_their_file() -> None:
    assert f"{nightly.BEGIN}\n{nightly.table(nightly.figures())}\n{nightly.END}" in PAGE


def test_the_nightly_jobs_are_those_of_the_workflow() -> None:
    text = (ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8")
    jobs = re.findall(r"- job: (\w+)", text)
    assert jobs == re.findall(r"^\| `(\w+)` \| `make", PAGE, re.MULTILINE)
    assert set(re.findall(r"make ([a-z-]+)", text)) - {"setup"} <= MAKE_TARGETS

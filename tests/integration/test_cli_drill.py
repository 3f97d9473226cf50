"""`scheduler drill` at the command line: what is refused before anything starts. No servers are needed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import commands
import pytest

from scheduler_core.drill.schedule import FAULT_NAMES


def drill(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SCHEDULER_")}
    return commands.as_text(commands.scheduler("drill", *words, environment=clean, folder=folder))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--fault", "kill,explode"), "explode"),
        (("--fault", "kil"), "pg-restart"),
        (("--fault", ","), "no fault"),
        (("--ttl", "0"), "lease_ttl"),
        (("--ttl", "-3"), "lease_ttl"),
        (("--json", "nowhere/drill.json"), "nowhere/drill.json"),
        (("--picture", "nowhere/drill.svg"), "nowhere/drill.svg"),
        (("--staging",), "database_url"),
    ],
)
def test_wrong_usage_is_one_line_and_starts_nothing(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    done = drill(tmp_path, *words)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert says in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--kills", "0"), ("--kills", "many"), ("--replicas", "1"), ("--seed", "x")])
def test_wrong_numbers_are_wrong_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = drill(tmp_path, *words)
    assert done.returncode == 2
    assert words[0] in done.stderr


def test_the_faults_are_listed_with_a_line_each(tmp_path: Path) -> None:
    done = drill(tmp_path, "--list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert tuple(line.split()[0] for line in lines) == FAULT_NAMES
    assert all(len(line.split()) > 3 for line in lines)

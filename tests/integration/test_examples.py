"""Every example runs as it is, on servers of the user's and without any setting at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs(script: Path, environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_every_example_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"`{script.name}`" in listed for script in EXAMPLES.glob("*.py"))


def test_the_quickstart_needs_no_setting(environment: dict[str, str], tmp_path: Path) -> None:
    bare = {k: v for k, v in environment.items() if not k.startswith("SCHEDULER_")}
    done = subprocess.run(
        [sys.executable, EXAMPLES / "quickstart.py"],
        env=bare,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "import, attempt 2" in done.stdout

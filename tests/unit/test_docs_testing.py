"""docs/testing.md: every block of Python is run, tests as tests and scripts as scripts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
TESTS = [block for block in BLOCKS if "def test_" in block]
SCRIPTS = [block for block in BLOCKS if "def test_" not in block]


def test_the_tests_of_the_page_pass(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(**{f"test_{number}": block for number, block in enumerate(TESTS)})
    options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function", "--timeout=60")
    result = pytester.runpytest_subprocess("-W", "error", *options)
    result.assert_outcomes(passed=sum(block.count("def test_") for block in TESTS))


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_of_the_page_run(script: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)


def test_the_page_has_what_is_run() -> None:
    assert (len(TESTS), len(SCRIPTS)) == (4, 1)

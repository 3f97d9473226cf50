"""Which versions of Python we are for: one list, and every place that says so says the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

PYTHONS = re.search(r"^PYTHONS := (.*)$", MAKEFILE, re.MULTILINE)[1].split()  # type: ignore[index]
OLDEST = PYTHONS[0]

ANSWERS_TO_ITS_VERSION = """#!/bin/sh
test "$PYENV_VERSION" = {version} || exit 127
case "$2" in *executable*) echo {real};; *) echo {version};; esac
"""
"""As pyenv's programs do: found on the path, and of use only to those who ask for the version by name."""


def answering(path: Path, version: str) -> Path:
    """A program that says that it is this Python, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\ncase "$2" in *executable*) echo {path};; *) echo {version};; esac\n')
    path.chmod(0o755)
    return path


def make(*words: str, folder: Path) -> str:
    """What make says, with our Makefile, in a folder that is all of the PATH.

    Make runs a line that calls make even where it only prints (`-n`): such a call is `true` here.
    """
    program = shutil.which("make")
    assert program
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYENV", "PYTHON"))
    }
    done = subprocess.run(
        [program, "-f", ROOT / "Makefile", "-C", folder, *words, "MAKE=:"],
        check=False, env=environment | {"PATH": str(folder)}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone that nothing was set up in."""
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_the_classifiers_say_what_is_tested() -> None:
    said = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["project"]["classifiers"]), re.MULTILINE)
    assert said == PYTHONS


def test_the_oldest_is_what_the_checks_are_set_to() -> None:
    assert PROJECT["project"]["requires-python"] == f">={OLDEST}"
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{OLDEST.replace('.', '')}"
    assert PROJECT["tool"]["mypy"]["python_version"] == OLDEST
    assert f"sys.version_info < ({OLDEST.replace('.', ', ')})" in MAKEFILE


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("README.md", f"Python {OLDEST}+"),
        ("Makefile", f"Python {OLDEST}+"),
        ("Makefile", f"Python {OLDEST} or newer"),
        ("docs/tutorials/quickstart.md", f"Python {OLDEST} or newer"),
        ("docs/comparison.md", f"Python {OLDEST} or newer"),
        ("CONTRIBUTING.md", f"Python {', '.join(PYTHONS[:-1])} and {PYTHONS[-1]}"),
    ],
)
def test_the_pages_say_the_same(page: str, words: str) -> None:
    assert words in (ROOT / page).read_text(encoding="utf-8")


def test_ci_runs_what_runs_on_the_others() -> None:
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == "exec make test"
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe
    assert "other-pythons" in recipe[1]


@pytest.mark.parametrize("version", PYTHONS)
def test_a_python_that_is_not_here_is_said_loudly(folder: Path, version: str) -> None:
    said = make(f"python-{version}", folder=folder)
    assert f"THERE IS NO PYTHON {version}, so it is not tested" in said


@pytest.mark.parametrize("version", PYTHONS)
def test_a_python_that_is_here_is_tested(folder: Path, version: str) -> None:
    answering(folder / f"python{version}", version)
    said = make("-n", f"python-{version}", folder=folder)
    assert f"build/python{version}/bin/python -m pytest" in said


def test_a_python_of_pyenv_is_found(folder: Path) -> None:
    real = answering(folder / "versions" / "python", OLDEST)
    shim = folder / f"python{OLDEST}"
    shim.write_text(ANSWERS_TO_ITS_VERSION.format(version=OLDEST, real=real))
    shim.chmod(0o755)
    assert f"build/python{OLDEST}/bin/python -m pytest" in make("-n", f"python-{OLDEST}", folder=folder)
    assert f"{real} -m venv .venv" in make("-n", "setup", f"PYTHON={shim.name}", folder=folder)


@pytest.mark.parametrize(
    ("there", "asked", "used"),
    [(None, "3.13", ".venv"), ("3.13", "3.13", ".venv"), ("3.11", "3.13", ".venv-3.13"), ("3.11", None, ".venv")],
)
def test_tests_run_on_the_python_that_is_asked_for(
    folder: Path, there: str | None, asked: str | None, used: str
) -> None:
    if there:
        answering(folder / ".venv" / "bin" / "python", there)
    for version in ("3", "3.13"):
        answering(folder / f"python{version}", "3.13")
    words = [f"PYTHON=python{asked}"] if asked else []
    said = make("-n", "unit", *words, folder=folder)
    assert f"{used}/bin/python -m pytest" in said
    assert f"test -x {used}/bin/python ||" in said


def _needed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[str]:
    """The names of all that an installed package needs here, and of what that needs."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    yield name
    for text in metadata.requires(name) or ():
        wanted = Requirement(text)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield from _needed(canonicalize_name(wanted.name), frozenset(wanted.extras), seen)


def test_all_that_is_installed_is_pinned() -> None:
    """Other versions of Python bring less along: `setuptools` is no part of a new venv from 3.12 on."""
    pinned = {
        canonicalize_name(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    }
    ours = "scheduler-core"
    try:
        metadata.version("ruff")
        extras = frozenset({"test"})
    except metadata.PackageNotFoundError:
        extras = frozenset({"unit"})
    assert set(_needed(ours, extras, set())) - {ours} <= pinned

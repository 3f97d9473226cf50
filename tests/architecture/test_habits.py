"""What a library owes those who depend on it: a surface that changes on purpose, types, one version, little weight."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from surface import lines

ROOT = Path(__file__).parents[2]
SURFACE = Path(__file__).parent / "surface.txt"
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

MOST_MODULES = 300
"""Imported by the two names that every service imports: counted, for a time says more about the machine."""

MOST_FOREIGN = {"annotated_types", "cronsim", "pydantic", "pydantic_core", "scheduler_core", "typing_extensions",
                "typing_inspection"}  # fmt: skip
"""Packages, other than Python's own, that those two names may import."""

KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_public_surface_changes_on_purpose() -> None:
    """If it was meant: `python -m tests.surface > tests/architecture/surface.txt`, and a line in the changelog."""
    assert list(lines()) == SURFACE.read_text(encoding="utf-8").splitlines()


def test_the_package_is_typed() -> None:
    assert (ROOT / "scheduler_core" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_version_stands_in_one_place() -> None:
    assert metadata.version("scheduler-core") == PROJECT["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?", PROJECT["version"])
    named = [
        path
        for folder in ("scheduler_core", "storage")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^__version__|^VERSION\s*=\s*[\"']\d", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert named == []


def test_the_changelog_keeps_its_form() -> None:
    versions = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+\S* - \d{4}-\d{2}-\d{2}", version) for version in versions[1:])
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= KINDS


def test_the_two_names_of_every_service_import_little() -> None:
    code = (
        "import sys; before = set(sys.modules); from scheduler_core import SchedulerService, ScheduleJob; "
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    added = set(done.stdout.split())
    assert len(added) < MOST_MODULES, len(added)
    roots = {name.partition(".")[0] for name in added}
    foreign = {name for name in roots if name not in sys.stdlib_module_names and not name.startswith("_")}
    assert foreign <= MOST_FOREIGN

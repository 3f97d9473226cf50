"""The documentation as a site: it builds without a warning, offline, and its pages ask no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

RESOURCE = re.compile(
    r"""<(?:script|img|iframe|source|audio|video|embed|object)[^>]*?(?:src|data|srcset)=["']([^"']+)"""
    r"""|<link(?![^>]*rel="(?:canonical|index|search|next|prev)")[^>]*?href=["']([^"']+)""",
    re.IGNORECASE,
)
STYLE = re.compile(r"""(?:@import\s+|url\(\s*)["']?([^"')\s]+)""")
ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Path:
    built = tmp_path / "site"
    options = ["-q", "-W", "--keep-going", "-b", "html", "-d", tmp_path / "trees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ROOT / "docs", built],
        env=os.environ | {"DOCS_DATABASE_URL": database_url}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return built


def test_the_site_builds_and_needs_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    asked = [
        (page.name, resource)
        for page in pages
        for pair in RESOURCE.findall(page.read_text(encoding="utf-8"))
        for resource in pair
        if ELSEWHERE.match(resource)
    ]
    asked += [
        (sheet.name, resource)
        for sheet in site.rglob("*.css")
        for resource in STYLE.findall(sheet.read_text(encoding="utf-8"))
        if ELSEWHERE.match(resource)
    ]
    assert asked == []
    assert "scheduler_audit" in (site / "reference" / "views.html").read_text(encoding="utf-8")
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert "ScheduleJob" in python
    assert "idempotency_key" in python


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/a.css">',
        "<img alt='x' src='http://tracker.example/p.gif'>",
    ],
)
def test_a_resource_from_elsewhere_would_be_seen(page: str) -> None:
    assert any(ELSEWHERE.match(resource) for pair in RESOURCE.findall(page) for resource in pair)

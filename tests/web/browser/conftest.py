"""A real browser on real pages: Chromium, replicas of which one leads, and a process that serves.

Without a Chromium these tests are skipped, and say so; under CI=true they fail.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from browser_stage import CHROMIUM, Stage, Watcher, browsing, staged, watching
from playwright.async_api import Browser


@pytest.fixture(scope="session", autouse=True)
def chromium() -> str:
    """Where Chromium is."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium: `make setup` installs Debian's package where it may")
        pytest.skip("THERE IS NO CHROMIUM, so no page is tested: apt-get install chromium, or `make setup` as root")
    return CHROMIUM


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Stage]:
    """Shared by the tests of a file."""
    server_url, redis_url = request.config.servers  # type: ignore[attr-defined]
    with staged(server_url, redis_url, tmp_path_factory.mktemp("pages")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Shared by the tests of a file; each has cookies of its own."""
    async with browsing() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def watcher(stage: Stage, browser: Browser) -> AsyncIterator[Watcher]:
    """A page on a desk."""
    context = await browser.new_context(viewport={"width": 1280, "height": 860})
    async with watching(context, stage) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def phone(stage: Stage, browser: Browser) -> AsyncIterator[Watcher]:
    """A page in a hand."""
    context = await browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    async with watching(context, stage) as made:
        yield made

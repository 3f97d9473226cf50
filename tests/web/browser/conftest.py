"""A real browser on real pages: Chromium, replicas of which one leads, and a process that serves.

Without a Chromium these tests are skipped, and say so; under CI=true they fail.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from browser_stage import CHROMIUM, Stage, Watcher, browsing, staged


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


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it is run in both themes."""
    found: str = request.param
    return found


@pytest.fixture
async def watcher(stage: Stage, theme: str) -> AsyncIterator[Watcher]:
    """A page on a desk."""
    async with browsing() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme=theme)  # type: ignore[arg-type]
        context.set_default_timeout(30_000)
        made = Watcher(await context.new_page(), stage, theme)
        made.listen()
        yield made


@pytest.fixture
async def phone(stage: Stage, theme: str) -> AsyncIterator[Watcher]:
    """A page in a hand."""
    async with browsing() as browser:
        context = await browser.new_context(
            viewport={"width": 390, "height": 844},
            color_scheme=theme,  # type: ignore[arg-type]
            has_touch=True,
            is_mobile=True,
        )
        context.set_default_timeout(30_000)
        made = Watcher(await context.new_page(), stage, theme)
        made.listen()
        yield made

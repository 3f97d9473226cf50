"""Databases for tests: what pytest-postgresql makes a template with, and where one is."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from scheduler_core import Container, load_settings
from scheduler_core.storage.postgres import migrate


def url_of(host: str, port: int, user: str, dbname: str, password: str | None = None, **_: Any) -> str:
    """A database's URL, password and all."""
    return f"postgresql://{user}:{quote(password or '')}@{host}:{port}/{dbname}"


def load_schema(**server: Any) -> None:
    """Migrate the template that every test's database is cloned from, and have the history's days, as `migrate` does.

    A replica that finds them there starts in half the time, and there are a thousand tests that start one.
    """
    url = url_of(**server)
    migrate.upgrade(url)
    asyncio.run(_create_history(url))


async def _create_history(url: str) -> None:
    container = Container(load_settings(database_url=url))
    try:
        await container.create_history()
    finally:
        await container.close()

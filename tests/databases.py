"""Databases for tests: what pytest-postgresql makes a template with, and where one is."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from storage import migrate


def url_of(host: str, port: int, user: str, dbname: str, password: str | None = None, **_: Any) -> str:
    """A database's URL, password and all."""
    return f"postgresql://{user}:{quote(password or '')}@{host}:{port}/{dbname}"


def load_schema(**server: Any) -> None:
    """Migrate the template that every test's database is cloned from."""
    migrate.upgrade(url_of(**server))

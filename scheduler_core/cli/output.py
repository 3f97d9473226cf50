"""Tables for people, JSON for programs, and the way into async code."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scheduler_core.container import Container
from scheduler_core.domain.runs.run import RunStatus
from scheduler_core.domain.wording import plain
from scheduler_core.settings import load_settings

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="The most rows.")]
Statuses = Annotated[list[RunStatus] | None, typer.Option(case_sensitive=False, help="Only these; may be repeated.")]

COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "lost": "red",
    "retrying": "yellow",
    "missed": "yellow",
    "skipped": "cyan",
    "running": "blue",
    "leader": "green",
}

# A pipe has no width: give rows room there instead of folding them at 80.
console = Console(width=None if sys.stdout.isatty() else 220)


def with_container(work: Callable[[Container], Awaitable[T]], **settings: Any) -> T:
    """Run async work with a container of this command, and close it."""

    async def whole() -> T:
        container = Container(load_settings(**settings))
        try:
            return await work(container)
        finally:
            await container.close()

    return asyncio.run(whole())


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, default=plain, ensure_ascii=False, indent=2))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str, title: str = "") -> None:
    """A table of these columns, or the sentence for none."""
    if not rows:
        console.print(escape(empty))
        return
    table = Table(title=title or None, header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(cell(row.get(column)) for column in columns))
    console.print(table)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.3f} s"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, UUID):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, default=plain, ensure_ascii=False)
    colour = COLOURS.get(text)
    # Names and errors are users' text: never markup, never control characters.
    safe = escape("".join(c if c.isprintable() else "�" for c in text))
    return f"[{colour}]{safe}[/{colour}]" if colour else safe

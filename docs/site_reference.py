"""The reference's pages, written from the code: Python, the command, settings, HTTP, and the views for auditors."""

from __future__ import annotations

import asyncio
import inspect
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import typer

import scheduler_core
from scheduler_core.cli.app import app as command_line
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.settings import Settings
from scheduler_core.storage import embedded
from scheduler_core.storage.postgres import migrate
from scheduler_core.web import create_app

COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'scheduler_audit'::regnamespace AND c.relkind = 'v' AND a.attnum > 0
ORDER BY c.relname, a.attnum
"""


def write(folder: Path) -> None:
    """Write every page of the reference into the folder; what has not changed is left as it is."""
    folder.mkdir(exist_ok=True)
    pages: dict[str, Callable[[], Iterable[str]]] = {
        "python.md": _python,
        "command-line.md": _command_line,
        "settings.md": _settings,
        "http.md": _http,
        "views.md": _views,
    }
    for name, lines in pages.items():
        text = "\n".join(lines()) + "\n"
        page = folder / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _python() -> Iterator[str]:
    yield "# Python\n\nEverything that `scheduler_core` names, from its signatures and docstrings.\n"
    names = {name: getattr(scheduler_core, name) for name in scheduler_core.__all__}
    errors = [name for name, value in names.items() if isinstance(value, type) and issubclass(value, SchedulerError)]
    kinds = {
        "Functions and decorators": [name for name, value in names.items() if inspect.isfunction(value)],
        "Classes": [name for name, value in names.items() if isinstance(value, type) and name not in errors],
        "Errors": errors,
    }
    assert sum(map(len, kinds.values())) == len(names), "a public name of a kind that has no chapter"
    for title, members in kinds.items():
        yield f"## {title}\n"
        for name in members:
            directive = {"Functions and decorators": "autofunction", "Errors": "autoexception"}.get(title, "autoclass")
            yield f"```{{eval-rst}}\n.. {directive}:: scheduler_core.{name}\n```\n"


def _command_line() -> Iterator[str]:
    yield "# Command line\n\nFrom the command itself: `scheduler COMMAND --help` says the same.\n"
    yield "Exit codes: 0 done, 1 the answer is bad news, 2 wrong usage, 3 a server is out of reach.\n"
    yield from _commands(typer.main.get_command(command_line), "scheduler")


def _commands(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", {})
    if not children:
        yield f"## `{name}`\n\n{_plain(command.help)}\n"
        rows = [_parameter(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
        if rows:
            yield "| parameter | | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    for child in sorted(children):
        yield from _commands(children[child], f"{name} {child}")


def _parameter(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [parameter.name.upper()]
    needed = "required" if parameter.required else ""
    shown = parameter.default if isinstance(parameter.default, str | int | float) else None
    if not needed and shown not in {None, "", False, True}:
        needed = f"default `{shown}`"
    return f"| {' '.join(f'`{name}`' for name in names)} | {needed} | {_cell(getattr(parameter, 'help', '') or '')} |"


def _settings() -> Iterator[str]:
    yield "# Settings\n\nEvery setting with its variable, type and default; [configuration](../configuration.md) says"
    yield "what each is for. Durations are seconds.\n"
    yield "| setting | environment | type | default |\n|---|---|---|---|"
    for name, field in Settings.model_fields.items():
        default = field.default.value if hasattr(field.default, "value") else field.default
        bounds = [str(bound) for bound in field.metadata]
        kind = _cell(inspect.formatannotation(field.annotation).replace("typing.", ""))
        limits = " " + _cell(", ".join(bounds)) if bounds else ""
        yield f"| `{name}` | `SCHEDULER_{name.upper()}` | `{kind}`{limits} | `{default}` |"


def _http() -> Iterator[str]:
    yield "# HTTP\n\nEvery address, from the API's own OpenAPI document; [the API](../api.md) says how it behaves.\n"
    document = create_app(settings=Settings(database_url="postgresql://nobody@localhost/none")).openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"## `{method.upper()} {path}`\n"
            yield f"{_plain(operation.get('description') or operation.get('summary') or '')}\n"
            rows = [
                f"| `{p['name']}` | {p['in']}{', required' if p.get('required') else ''} | "
                f"{_cell(p.get('description') or p.get('schema', {}).get('description') or '')} |"
                for p in operation.get("parameters", [])
            ]
            if rows:
                yield "| parameter | in | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
            answers = ", ".join(f"{status}" for status in operation["responses"])
            yield f"Answers: {answers}.\n"


def _views() -> Iterator[str]:
    yield "# Views for auditors\n\nThe schema `scheduler_audit`, read from a database that was just migrated."
    yield "[Questions that auditors ask](../audit.md) uses them; [architecture](../architecture.md) has the words.\n"
    migrated = os.environ.get("DOCS_DATABASE_URL")
    rows = asyncio.run(_fetch(migrated)) if migrated else _from_servers_of_its_own()
    for view in dict.fromkeys(view for view, _, _ in rows):
        yield f"## `{view}`\n\n| column | type |\n|---|---|"
        yield "\n".join(f"| `{column}` | {kind} |" for of, column, kind in rows if of == view) + "\n"


def _from_servers_of_its_own() -> list[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory(prefix="scheduler-docs-") as folder:
        servers = embedded.start(folder)
        try:
            migrate.upgrade(servers.database_url)
            return asyncio.run(_fetch(servers.database_url))
        finally:
            servers.stop()


async def _fetch(database_url: str) -> list[tuple[str, str, str]]:
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        return [tuple(row) for row in await connection.fetch(COLUMNS)]
    finally:
        await connection.close()


def _plain(text: str | None) -> str:
    """A docstring's paragraphs, with nothing in them that Markdown or HTML would take for its own."""
    return inspect.cleandoc(text or "").replace("\f", "").replace("<", "&lt;").replace("[", "\\[")


def _cell(text: str) -> str:
    return " ".join(_plain(text).replace("|", "\\|").split())

"""`scheduler tables …`: the families, what is there of them, and the SQL that would come next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from scheduler_core.cli.output import AsJson, console, print_json, print_table, with_container
from scheduler_core.cli.replica import load_app
from scheduler_core.container import Container
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.tables.family import InvalidTableFamilyError
from scheduler_core.engine.operations.tables import TableScheduler, Verb, cleanup, creation, summing

app = typer.Typer(help="Look after table families: daily tables, summaries, retention.", no_args_is_help=True)

App = Annotated[str | None, typer.Option("--app", help="A module that registers families with TableScheduler.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the SQL, as psql takes it.")]

COLUMNS = ("schema_name", "family", "tables", "first_table", "last_table", "days_left", "retention_days", "is_short")


@app.command("list")
def list_tables(module: App = None, as_json: AsJson = False) -> None:
    """The families that somebody has created tables for, the scheduler's own history first.

    With --app also those that the module registers and that have no tables yet. Exit code 1 if one runs short.
    """
    _load(module)

    async def work(container: Container) -> list[dict[str, Any]]:
        await container.check_schema()
        return await container.get_tables().families.listed(TableScheduler.families())

    rows = with_container(work)
    if as_json:
        print_json(rows)
    else:
        print_table(rows, COLUMNS, empty="There are no families yet.")
        if any(row["days_left"] is None for row in rows):
            console.print("\nA family without figures was never created: run `scheduler tables create --app …`.")
    if any(row["is_short"] for row in rows):
        raise typer.Exit(1)


@app.command()
def create(module: App = None, dry_run: DryRun = False) -> None:
    """Have the daily tables ahead and the monthly summaries: of the history, and of what --app registers."""
    _load(module)
    if dry_run:
        _rehearse(creation, summing)
        return

    async def work() -> list[str]:
        return [
            *await TableScheduler.create_daily_tables(),
            *await TableScheduler.create_monthly_summary_tables(),
        ]

    _carry_out(work, "created or summed up")


@app.command("cleanup")
def clean_up(module: App = None, dry_run: DryRun = False) -> None:
    """Drop what is past its retention: of the history, and of what --app registers."""
    _load(module)
    if dry_run:
        _rehearse(cleanup)
        return
    _carry_out(TableScheduler.cleanup_old_tables, "dropped")


@app.command()
def forget(
    family: Annotated[str, typer.Argument(help="The family's name.")],
    schema: Annotated[str, typer.Option(help="Where its tables live.")] = "public",
) -> None:
    """Miss the tables of a family no more, because nobody creates them any more; its tables stay."""

    async def work(container: Container) -> bool:
        await container.check_schema()
        return await container.get_tables().families.forget(family, schema)

    if not with_container(work):
        raise InvalidTableFamilyError(
            f"there is no family {schema}.{family}: `scheduler tables list` shows those that exist"
        )
    console.print(f"family {schema}.{family} is forgotten; its tables stay", markup=False)


def _load(module: str | None) -> None:
    if module is not None:
        load_app(module)


def _carry_out(work: Callable[[], Awaitable[list[str]]], done: str) -> None:
    async def whole(container: Container) -> list[str]:
        await container.check_schema()
        return await work()

    for name in with_container(whole):
        console.print(f"{name} {done}", markup=False)


def _rehearse(*verbs: Verb) -> None:
    async def work(container: Container) -> tuple[str, list[str]]:
        await container.check_schema()
        return await TableScheduler.rehearse(*verbs)

    script, problems = with_container(work)
    # Nothing but SQL on standard output, unfolded: it goes into psql.
    print(script or "-- nothing to do")
    if problems:
        raise SchedulerError("; ".join(problems))

"""`scheduler clock …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scheduler_core.admin.clock import agree_to_clock, report_clock
from scheduler_core.cli.output import AsJson, console, print_json, print_table, with_container
from scheduler_core.container import Container

app = typer.Typer(help="The database's clock, which says what is due.", no_args_is_help=True)

COLUMNS = ("hold_id", "expected_at", "database_at", "ahead_by", "instance_id", "ended_at", "ended_why")


@app.command()
def show(as_json: AsJson = False) -> None:
    """What the clock shows, and whether planning has stopped for it. Exit code 1 if it has."""

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        return await report_clock(container)

    found = with_container(work)
    if as_json:
        print_json(found)
    else:
        console.print(f"Postgres's clock shows {found['database_at']:%Y-%m-%d %H:%M:%S} UTC.", markup=False)
        console.print(f"This machine's shows   {found['machine_at']:%Y-%m-%d %H:%M:%S} UTC.", markup=False)
        if found["held"]:
            console.print(f"Planning has stopped: {found['detail']}.", markup=False, highlight=False)
            console.print(f"If the time that Postgres shows is right: scheduler clock agree {found['hold_id']}")
        print_table(found["holds"], COLUMNS, empty="It has never stopped planning.")
    if found["held"]:
        raise typer.Exit(1)


@app.command()
def agree(
    hold_id: Annotated[
        int | None,
        typer.Argument(help="Of the jump that you have seen, as `clock show` names it: another one is not agreed to."),
    ] = None,
) -> None:
    """Have planning go on by the time that Postgres's clock shows now.

    Jobs go on from where their cursors stand: what lies between is late, and each job's misfire policy decides about
    it. After a jump back what was accounted for stays so, and a job fires next when its cursor is reached.
    """

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        return await agree_to_clock(container, container.user.name, hold_id)

    done = with_container(work)
    told = f"planning goes by Postgres's clock, which shows {done['database_at']:%Y-%m-%d %H:%M:%S} UTC"
    console.print(told if done["hold_id"] is not None else f"nothing had stopped planning; {told}", markup=False)

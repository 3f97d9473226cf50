"""`scheduler leader …`."""

from __future__ import annotations

from typing import Any

import typer

from scheduler_core.admin.status import leader_status
from scheduler_core.cli.output import AsJson, Limit, console, print_json, print_table, with_container
from scheduler_core.container import Container

app = typer.Typer(help="Who leads, and since when.", no_args_is_help=True)

REPLICA_COLUMNS = ("role", "instance_id", "host", "pid", "started_at", "last_seen")
TERM_COLUMNS = ("term", "instance_id", "host", "acquired_at", "ended_at", "end_reason", "leaderless_for")


@app.command()
def status(as_json: AsJson = False) -> None:
    """The leader and the replicas that live. Exit code 1 if nobody leads."""

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        return await leader_status(container)

    found = with_container(work)
    if as_json:
        print_json(found)
    else:
        if found["instance_id"] is None:
            console.print("Nobody leads.")
        else:
            console.print(
                f"term {found['term']}: {found['instance_id']} (pid {found['pid']}) leads since "
                f"{found['acquired_at']:%Y-%m-%d %H:%M:%S} UTC",
                markup=False,
            )
        print_table(found["replicas"], REPLICA_COLUMNS, empty="No replica lives.")
    if found["instance_id"] is None:
        raise typer.Exit(1)


@app.command()
def resign() -> None:
    """Ask the leader to give the term up for another replica."""

    async def work(container: Container) -> tuple[dict[str, Any], bool]:
        await container.check_schema()
        before = await leader_status(container)
        return before, before["instance_id"] is not None and await container.ask_to_resign(before["term"])

    before, is_asked = with_container(work)
    if not is_asked:
        console.print("Nobody leads." if before["instance_id"] is None else f"Term {before['term']} has just ended.")
        raise typer.Exit(1)
    console.print(f"asked {before['instance_id']} to resign from term {before['term']}", markup=False)


@app.command()
def history(as_json: AsJson = False, limit: Limit = 20) -> None:
    """The terms, the latest first: who led, why it ended, how long nobody led before."""

    async def work(container: Container) -> list[dict[str, Any]]:
        await container.check_schema()
        return await container.get_audit().terms(limit=limit)

    rows = with_container(work)
    if as_json:
        print_json(rows)
    else:
        print_table(rows, TERM_COLUMNS, empty="Nobody has led yet.")

"""`scheduler tokens …`: who may call the API."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scheduler_core.cli.output import AsJson, Limit, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.access.access import DEFAULT_TOKEN_DAYS, Scope

app = typer.Typer(help="Tokens for the API and the dashboard.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Whose it is; the log of changes names it.")]

COLUMNS = ("name", "scope", "stands", "created_at", "created_by", "expires_at", "last_used_at", "revoked_at")


@app.command()
def create(
    name: Name,
    scope: Annotated[
        Scope, typer.Option(case_sensitive=False, help="What it allows; each includes those before it.")
    ] = Scope.VIEWER,
    days: Annotated[float, typer.Option(help="How long it stands.")] = DEFAULT_TOKEN_DAYS,
    forever: Annotated[bool, typer.Option("--forever", help="Until it is revoked.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a token, and show it this once."""

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        made, secret = await container.get_tokens().create(
            name, scope, days=None if forever else days, by=container.user.name
        )
        return {
            "token": secret,
            "name": made.name,
            "scope": made.scope,
            "token_id": made.token_id,
            "created_at": made.created_at,
            "expires_at": made.expires_at,
        }

    made = with_container(work)
    if as_json:
        print_json(made)
        return
    until = (
        f"until {made['expires_at']:%Y-%m-%d %H:%M} UTC" if made["expires_at"] is not None else "until it is revoked"
    )
    console.print(f"{made['token']}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"This is token {name}, a {made['scope']}'s, {until}. It is not shown again.", markup=False)


@app.command("list")
def list_tokens(
    with_revoked: Annotated[bool, typer.Option("--all", help="Those that were revoked too.")] = False,
    limit: Limit = 1_000,
    as_json: AsJson = False,
) -> None:
    """The tokens, without their secrets, which nobody has."""

    async def work(container: Container) -> list[dict[str, Any]]:
        await container.check_schema()
        return await container.get_tokens().listed(with_revoked=with_revoked, limit=limit)

    rows = with_container(work)
    if as_json:
        print_json(rows)
    else:
        print_table(rows, COLUMNS, empty="There are no tokens: `scheduler tokens create NAME` makes one.")


@app.command()
def revoke(name: Name) -> None:
    """End a token and the sessions that it opened, at once."""

    async def work(container: Container) -> None:
        await container.check_schema()
        await container.get_tokens().revoke(name, by=container.user.name)

    with_container(work)
    console.print(f"token {name} is revoked", markup=False)

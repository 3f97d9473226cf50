"""`scheduler alarms …`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from uuid import uuid4

import typer

from scheduler_core.admin.alarms import report_alarms
from scheduler_core.cli.output import AsJson, Limit, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.alerts.alarm import AlarmKind, Event, Notification
from scheduler_core.domain.alerts.webhook import encode_body
from scheduler_core.domain.errors import InvalidSettingsError, SchedulerError, ServerUnreachableError
from scheduler_core.domain.wording import in_words

app = typer.Typer(help="What is wrong with which job, and who is told.", no_args_is_help=True)

COLUMNS = ("kind", "job_id", "since", "detail", "failed_runs", "opened_at", "closed_at", "closed_why")
OUTBOX_COLUMNS = ("notification_id", "event", "state", "created_at", "attempts", "text", "last_error")

DELIVERY_POLL_SECONDS = 0.2


@app.command("list")
def list_alarms(
    every: Annotated[bool, typer.Option("--all", help="Those of the last month too that are closed.")] = False,
    as_json: AsJson = False,
    limit: Limit = 1_000,
) -> None:
    """Alarms that are open, and those that would be if anybody looked. Exit code 1 if there are any.

    Needs no replica: what nobody watches is looked at here and now, without changing anything.
    """

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        return await report_alarms(container, closed_too=every, limit=limit)

    found = with_container(work)
    if as_json:
        print_json(found)
    else:
        if found["unwatched_seconds"] is not None:
            console.print(
                f"Nobody has looked for {in_words(found['unwatched_seconds'])}: no replica lives. Looked at now:"
            )
        print_table(found["alarms"], COLUMNS, empty="No alarm is open.")
    if found["open"] or found["unwatched_seconds"] is not None:
        raise typer.Exit(1)


@app.command()
def close(
    job_id: Annotated[str, typer.Argument(help="The job's id.")],
    kind: Annotated[AlarmKind | None, typer.Option(case_sensitive=False, help="Only alarms of this kind.")] = None,
) -> None:
    """Close a job's alarms: somebody has seen to it. One whose reason goes on opens again."""

    async def work(container: Container) -> int:
        await container.check_schema()
        return await container.get_alarms().close(job_id, kind=kind, by=container.user.name)

    if not with_container(work):
        raise SchedulerError(f"no alarm of {job_id!r} is open: `scheduler alarms list` shows those that are")
    console.print(f"closed the alarms of {job_id}", markup=False)


@app.command()
def outbox(as_json: AsJson = False, limit: Limit = 50) -> None:
    """Notifications, the latest first: those that wait, were delivered, were given up."""

    async def work(container: Container) -> list[dict[str, Any]]:
        await container.check_schema()
        return await container.get_outbox().listed(limit=limit)

    rows = with_container(work)
    if as_json:
        print_json(rows)
    else:
        print_table(rows, OUTBOX_COLUMNS, empty="Nothing was to be told yet.")


@app.command("test")
def send_test(
    by_replicas: Annotated[
        bool,
        typer.Option("--by-replicas", help="Have a replica send it, with its own settings, instead of this shell."),
    ] = False,
    wait_seconds: Annotated[float, typer.Option("--wait", min=0.1, max=600, help="With --by-replicas: how long.")] = 30,
) -> None:
    """Send a test notification. Exit code 1 if the receiver refuses it, 3 if it is out of reach."""

    async def work(container: Container) -> str:
        if by_replicas:
            await container.check_schema()
            return await _send_by_replicas(container, wait_seconds)
        return await _send(container)

    console.print(with_container(work), markup=False)


async def _send(container: Container) -> str:
    webhook = container.get_webhook()
    if webhook is None:
        raise InvalidSettingsError("there is no webhook_url: set it, and webhook_secret, or use --by-replicas")
    notification = Notification(
        Event.TEST, f"a test, sent by {container.user.name}", await container.get_database().now()
    )
    try:
        answer = await webhook.send(str(uuid4()), encode_body(notification.body()))
    finally:
        await webhook.close()
    if answer.error is None:
        return f"{webhook.receiver} took it (status {answer.status})"
    if answer.status is None:
        raise ServerUnreachableError(f"{answer.error}: is it running, is webhook_url right?")
    raise SchedulerError(f"{answer.error}: does it know webhook_secret, is the path of webhook_url right?")


async def _send_by_replicas(container: Container, wait_seconds: float) -> str:
    queue = container.get_outbox()
    notification = Notification(
        Event.TEST, f"a test, asked for by {container.user.name}", await container.get_database().now()
    )
    number = await queue.queue(notification)
    row = None
    for _ in range(max(1, int(wait_seconds / DELIVERY_POLL_SECONDS))):
        row = await queue.find(number)
        if row is not None and row["delivered_at"] is not None:
            return f"{row['claimed_by']} delivered it at attempt {row['attempts']}"
        await asyncio.sleep(DELIVERY_POLL_SECONDS)
    if row is not None and row["last_error"]:
        raise SchedulerError(
            f"it is not delivered after {wait_seconds:g} s: {row['last_error']}; it goes on being tried"
        )
    raise SchedulerError(
        f"no replica has delivered it after {wait_seconds:g} s: does one live that has webhook_url set, or do others "
        "wait before it (`scheduler alarms outbox`)?"
    )

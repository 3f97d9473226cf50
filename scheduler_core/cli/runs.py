"""`scheduler runs …`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from scheduler_core.cli.output import AsJson, Limit, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.run import RunStatus

app = typer.Typer(help="Look at what ran.", no_args_is_help=True)

COLUMNS = (
    "scheduled_for",
    "job_id",
    "status",
    "reason",
    "attempts",
    "lateness",
    "duration",
    "term",
    "run_id",
)
ATTEMPT_COLUMNS = (
    "attempt",
    "outcome",
    "started_at",
    "finished_at",
    "error_type",
    "error_message",
    "term",
    "late",
)


@app.command("list")
def list_runs(
    job: Annotated[str | None, typer.Option(help="Only this job's.")] = None,
    status: Annotated[list[RunStatus] | None, typer.Option(help="Only these; may be repeated.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only from this instant on (UTC).")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The latest runs first."""
    since = since.replace(tzinfo=UTC) if since is not None and since.tzinfo is None else since

    async def work(container: Container) -> list[dict[str, Any]]:
        await container.check_schema()
        statuses = [s.value for s in status] if status else None
        return await container.get_audit().runs(job_id=job, statuses=statuses, since=since, limit=limit)

    rows = with_container(work)
    if as_json:
        print_json(rows)
    else:
        print_table(rows, COLUMNS, empty="There are no such runs.")


@app.command()
def show(run_id: Annotated[UUID, typer.Argument(help="The run's id.")], as_json: AsJson = False) -> None:
    """One run with its attempts and their tracebacks."""

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        return await container.run_details(run_id)

    run = with_container(work)
    if as_json:
        print_json(run)
        return
    attempts = run.pop("attempt_list")
    print_table([{"field": k, "value": v} for k, v in run.items()], ("field", "value"), empty="")
    print_table(attempts, ATTEMPT_COLUMNS, empty="No attempt has ended yet.", title="attempts")
    for attempt in attempts:
        if attempt["traceback"]:
            console.print(f"\nattempt {attempt['attempt']}:\n{attempt['traceback']}", markup=False, highlight=False)

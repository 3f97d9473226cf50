"""`scheduler runs …`."""

from __future__ import annotations

import asyncio
import getpass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from scheduler_core.cli.output import AsJson, Limit, Statuses, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.runs.run import RunStatus

app = typer.Typer(help="Look at what ran, run it again, cancel it.", no_args_is_help=True)

RunId = Annotated[UUID, typer.Argument(help="The run's id.")]

LOOK_EVERY_SECONDS = 0.05

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
    status: Statuses = None,
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
def show(run_id: RunId, as_json: AsJson = False) -> None:
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


@app.command()
def retry(run_id: RunId, as_json: AsJson = False) -> None:
    """Run a finished run's job again, now; the new run names the old one."""

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        run = await container.get_run_operations().rerun(run_id)
        return {
            "run_id": run.run_id,
            "job_id": run.job_id,
            "scheduled_for": run.scheduled_for,
            "rerun_of": run_id,
        }

    run = with_container(work)
    if as_json:
        print_json(run)
    else:
        console.print(f"run {run['run_id']} of job {run['job_id']} is due now", markup=False)


app.command("rerun", hidden=True)(retry)


@app.command()
def cancel(
    run_id: RunId,
    wait: Annotated[float, typer.Option(min=0, max=86_400, help="Seconds to wait for a run that executes.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Cancel a run, running or waiting, without a retry. Exit code 1 if it ended otherwise before.

    A callback in a thread can't be stopped: its run ends as cancelled when it returns.
    """

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        answer = await container.get_run_operations().cancel(run_id, getpass.getuser())
        run: dict[str, Any] = {"status": answer.status.value}
        deadline = asyncio.get_running_loop().time() + wait
        while run["status"] == RunStatus.RUNNING and asyncio.get_running_loop().time() < deadline:
            run = await container.run_details(run_id)
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        return {
            "run_id": run_id,
            "job_id": answer.job_id,
            "status": run["status"],
            "had_begun": answer.status is RunStatus.RUNNING,
            "instance_id": answer.instance_id,
        }

    run = with_container(work)
    status = run["status"]
    if as_json:
        print_json(run)
    elif status == RunStatus.CANCELLED:
        console.print(f"run {run_id} of job {run['job_id']} is cancelled", markup=False)
    elif status == RunStatus.RUNNING:
        console.print(
            f"run {run_id} of job {run['job_id']} is asked to end and executes still, on {run['instance_id']}: a "
            "callback in a thread can't be stopped; the run ends as cancelled when it returns",
            markup=False,
        )
    else:
        console.print(f"run {run_id} of job {run['job_id']} ended first, as {status}", markup=False)
    if status not in (RunStatus.CANCELLED, RunStatus.RUNNING):
        raise typer.Exit(1)

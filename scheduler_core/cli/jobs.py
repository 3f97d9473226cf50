"""`scheduler jobs …`."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from scheduler_core.admin.named_callbacks import doubt_of
from scheduler_core.cli.output import AsJson, Limit, console, print_json, print_table, with_container
from scheduler_core.cli.replica import import_from_here
from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidJobError, JobNotFoundError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.domain.schedule import ScheduleType

app = typer.Typer(help="Look at jobs and change them.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The job's id.")]

COLUMNS = (
    "job_id",
    "name",
    "schedule_type",
    "schedule_value",
    "enabled",
    "paused",
    "next_run",
    "last_run",
    "run_count",
    "error_count",
    "last_status",
)


@app.command("list")
def list_jobs(as_json: AsJson = False, limit: Limit = 1_000) -> None:
    """The jobs, by id."""

    async def work(container: Container) -> list[dict[str, Any]]:
        await container.check_schema()
        return await container.get_audit().jobs(limit=limit)

    rows = with_container(work)
    if as_json:
        print_json(rows)
    else:
        print_table(rows, COLUMNS, empty="There are no jobs yet: add one in code, or with `scheduler jobs add`.")


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """One job, whole."""

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        rows = await container.get_audit().jobs([job_id])
        if not rows:
            raise JobNotFoundError(f"there is no job {job_id!r}: `scheduler jobs list` shows those that exist")
        return rows[0]

    row = with_container(work)
    if as_json:
        print_json(row)
    else:
        print_table([{"field": k, "value": v} for k, v in row.items()], ("field", "value"), empty="")


@app.command()
def add(
    job_id: JobId,
    callback: Annotated[str, typer.Option(help="What to call, as package.module:function.")],
    every: Annotated[str | None, typer.Option(help="Seconds between two runs.")] = None,
    daily: Annotated[list[str] | None, typer.Option(help="A time of day, HH:MM; may be repeated.")] = None,
    cron: Annotated[str | None, typer.Option(help="A cron expression.")] = None,
    once: Annotated[str | None, typer.Option(help="An instant in ISO 8601, or `now`.")] = None,
    name: Annotated[str | None, typer.Option(help="For people; the id by default.")] = None,
    timezone: Annotated[str | None, typer.Option(help="The job's time zone.")] = None,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="Any other field, as field=JSON; may be repeated.")
    ] = None,
) -> None:
    """Add a job, or change it. The replicas must know the callback, or allow it by `allowed_callbacks`."""
    schedule_type, schedule_value = _schedule(every, daily, cron, once)
    job = ScheduleJob(
        job_id=job_id,
        name=name or job_id,
        schedule_type=schedule_type,
        schedule_value=schedule_value,
        callback=callback,
        timezone=timezone,
        **_policies(policy or []),
    )

    async def work(container: Container) -> str | None:
        await container.prepare()
        doubt = await doubt_of(container, callback)
        settings = container.settings
        definition = job.definition(timezone or settings.default_timezone, default_executor=settings.default_executor)
        import_from_here()
        container.check_arguments(definition)
        await container.get_operations().declare([definition])
        return doubt

    doubt = with_container(work)
    console.print(f"job {job_id} is stored", markup=False)
    if doubt is not None:
        print(f"scheduler: {doubt}", file=sys.stderr)


def _schedule(
    every: str | None, daily: list[str] | None, cron: str | None, once: str | None
) -> tuple[ScheduleType, Any]:
    given: list[tuple[ScheduleType, Any]] = []
    if every is not None:
        given.append((ScheduleType.INTERVAL, every))
    if daily:
        given.append((ScheduleType.DAILY, daily))
    if cron is not None:
        given.append((ScheduleType.CRON, cron))
    if once is not None:
        given.append((ScheduleType.ONCE, None if once.lower() == "now" else once))
    if len(given) != 1:
        raise InvalidJobError("give exactly one of --every, --daily, --cron and --once")
    return given[0]


def _policies(assignments: list[str]) -> dict[str, Any]:
    policies: dict[str, Any] = {}
    for assignment in assignments:
        field, equals, value = assignment.partition("=")
        if not equals:
            raise InvalidJobError(f"--policy {assignment!r}: write field=value, as max_retries=5")
        try:
            policies[field] = json.loads(value)
        except ValueError:
            policies[field] = value
    return policies


def _change(job_id: str, verb: str, done: str, **arguments: Any) -> None:
    async def work(container: Container) -> None:
        await container.check_schema()
        await getattr(container.get_operations(), verb)(job_id, **arguments)

    with_container(work)
    console.print(f"job {job_id} {done}", markup=False)


@app.command()
def remove(job_id: JobId) -> None:
    """Remove a job; its history stays."""
    _change(job_id, "remove", "is removed; its history stays")


@app.command()
def pause(
    job_id: JobId,
    note: Annotated[str | None, typer.Option(help="Why, for those who wonder later.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Resume by itself then (UTC).")] = None,
) -> None:
    """Stop a job from firing until it is resumed."""
    until = until.replace(tzinfo=UTC) if until is not None and until.tzinfo is None else until
    _change(job_id, "pause", "is paused", note=note, until=until, by=getpass.getuser())


@app.command()
def resume(job_id: JobId) -> None:
    """Let a paused or automatically disabled job fire again."""
    _change(job_id, "resume", "fires again")


@app.command()
def revert(
    job_id: JobId,
    to: Annotated[int, typer.Option("--to", min=1, help="The version, as `scheduler audit changes` shows it.")],
) -> None:
    """Bring back an earlier definition; a pause stays. The same code does not undo it, other code does."""

    async def work(container: Container) -> bool:
        await container.check_schema()
        return await container.get_operations().revert(job_id, to)

    done = f"has the definition of version {to} again" if with_container(work) else f"is as in version {to} already"
    console.print(f"job {job_id} {done}", markup=False)


@app.command()
def trigger(job_id: JobId, as_json: AsJson = False) -> None:
    """Run a job now, beside its schedule."""

    async def work(container: Container) -> dict[str, Any]:
        await container.check_schema()
        run = await container.get_operations().trigger(job_id)
        return {"run_id": run.run_id, "job_id": run.job_id, "scheduled_for": run.scheduled_for}

    run = with_container(work)
    if as_json:
        print_json(run)
    else:
        console.print(f"run {run['run_id']} of job {job_id} is due now", markup=False)

"""`scheduler next`: when a job, or a schedule, fires next."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from scheduler_core.admin.next_fires import NextFires, next_of_job, next_of_schedule
from scheduler_core.cli.output import AsJson, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.settings import load_settings


def next_instants(
    job_or_spec: Annotated[str, typer.Argument(help="A job's id, a cron expression, HH:MM or seconds.")],
    count: Annotated[int, typer.Option("--count", "-c", min=1, max=10_000)] = 10,
    timezone: Annotated[str | None, typer.Option(help="For a spec: its time zone.")] = None,
    as_json: AsJson = False,
) -> None:
    """When a job, or a schedule, fires next: UTC, local time, and what a change of the clocks does to it."""
    spec = _spec(job_or_spec)
    if spec is None:
        found = with_container(lambda container: _of_job(container, job_or_spec, count))
    else:
        found = next_of_schedule(*spec, timezone or load_settings().default_timezone, count)
    rows = [one.as_row() for one in found.fires]
    if as_json:
        print_json(rows)
        return
    console.print(f"{found.words}, in {found.definition.timezone}", markup=False, highlight=False)
    columns = [
        "utc",
        "local",
        *(["left_out"] if found.definition.calendars else []),
        *(["note"] if any(one.note for one in found.fires) else []),
    ]
    print_table(rows, columns, empty="It does not fire any more.")


async def _of_job(container: Container, job_id: str, count: int) -> NextFires:
    await container.check_schema()
    return await next_of_job(container, job_id, count)


def _spec(text: str) -> tuple[ScheduleType, Any] | None:
    if text.startswith("@") or len(text.split()) in (5, 6):
        return ScheduleType.CRON, text
    if text.replace(":", "").isdigit() and ":" in text:
        return ScheduleType.DAILY, text
    if text.replace(".", "", 1).isdigit():
        return ScheduleType.INTERVAL, text
    return None

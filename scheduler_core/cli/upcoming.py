"""`scheduler next`: when a job, or a schedule, fires next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from scheduler_core.cli.output import AsJson, console, print_json, print_table, with_container
from scheduler_core.container import Container
from scheduler_core.domain.calendars import Exclusions
from scheduler_core.domain.errors import CalendarNotFoundError, InvalidJobError, JobNotFoundError
from scheduler_core.domain.job import JobDefinition, ScheduleJob
from scheduler_core.domain.next_fires import look_ahead
from scheduler_core.domain.plain_words import plain_words
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.domain.schedule.zone import find_zone
from scheduler_core.domain.upcoming import Upcoming, upcoming
from scheduler_core.ports import InvalidRow
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
        definition, found = with_container(lambda container: _next_of_job(container, job_or_spec, count))
    else:
        definition, found = _next_of_spec(spec, timezone or load_settings().default_timezone, count)
    rows = [one.as_row() for one in found]
    if as_json:
        print_json(rows)
        return
    words = plain_words(definition.schedule_type, definition.schedule_value, definition.timezone)
    console.print(f"{words}, in {definition.timezone}", markup=False, highlight=False)
    columns = [
        "utc",
        "local",
        *(["left_out"] if definition.calendars else []),
        *(["note"] if any(one.note for one in found) else []),
    ]
    print_table(rows, columns, empty="It does not fire any more.")


def _next_of_spec(spec: tuple[ScheduleType, Any], zone: str, count: int) -> tuple[JobDefinition, list[Upcoming]]:
    job = ScheduleJob("spec", "spec", spec[0], spec[1], "spec:spec", timezone=zone)
    definition, now = job.definition(zone), datetime.now(UTC)
    schedule, nothing = definition.schedule(now), Exclusions((), find_zone(zone))
    found = upcoming(schedule, nothing, schedule.next_after(now), look_ahead(now, nothing), count, zone)
    return definition, found


async def _next_of_job(container: Container, job_id: str, count: int) -> tuple[JobDefinition, list[Upcoming]]:
    await container.check_schema()
    found = await container.get_storage().jobs.load([job_id])
    if not found:
        raise JobNotFoundError(
            f"{job_id!r} is neither a job nor a schedule: write an id, a cron expression, HH:MM or seconds"
        )
    job = found[0]
    if isinstance(job, InvalidRow):
        raise InvalidJobError(f"the row of job {job_id!r} can't be read ({job.problem}): correct it in SQL")
    if job.missing_calendars:
        raise CalendarNotFoundError(
            f"job {job_id!r} waits for the calendar {job.missing_calendars[0]!r}, which does not exist: "
            f"`scheduler calendars add {job.missing_calendars[0]}` creates it"
        )
    now, zone = await container.get_storage().jobs.now(), job.definition.timezone
    until = look_ahead(now, job.exclusions)
    return job.definition, upcoming(job.schedule, job.exclusions, job.next_run, until, count, zone)


def _spec(text: str) -> tuple[ScheduleType, Any] | None:
    if text.startswith("@") or len(text.split()) in (5, 6):
        return ScheduleType.CRON, text
    if text.replace(":", "").isdigit() and ":" in text:
        return ScheduleType.DAILY, text
    if text.replace(".", "", 1).isdigit():
        return ScheduleType.INTERVAL, text
    return None

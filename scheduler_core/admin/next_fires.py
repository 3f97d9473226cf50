"""When a job, or a schedule that nobody has stored yet, fires next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scheduler_core.container import Container
from scheduler_core.domain.calendars.calendars import Exclusions
from scheduler_core.domain.errors import CalendarNotFoundError, InvalidJobError, JobNotFoundError
from scheduler_core.domain.jobs.job import JobDefinition, ScheduleJob
from scheduler_core.domain.planning.next_fires import look_ahead
from scheduler_core.domain.planning.upcoming import Upcoming, upcoming
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.domain.schedule.plain_words import plain_words
from scheduler_core.domain.schedule.zone import find_zone
from scheduler_core.ports.runs import InvalidRow


@dataclass(frozen=True, slots=True)
class NextFires:
    """What is asked about, and its next fires."""

    definition: JobDefinition
    fires: tuple[Upcoming, ...]

    @property
    def words(self) -> str:
        """The schedule in plain words."""
        definition = self.definition
        return plain_words(definition.schedule_type, definition.schedule_value, definition.timezone)

    def as_document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "schedule": self.words,
            "timezone": self.definition.timezone,
            "items": [fire.as_row() for fire in self.fires],
        }


def next_of_schedule(schedule_type: ScheduleType, schedule_value: Any, timezone: str, count: int) -> NextFires:
    """The next fires of a schedule. Raises InvalidJobError."""
    job = ScheduleJob("spec", "spec", schedule_type, schedule_value, "spec:spec", timezone=timezone)
    definition, now = job.definition(timezone), datetime.now(UTC)
    schedule, nothing = definition.schedule(now), Exclusions((), find_zone(timezone))
    found = upcoming(schedule, nothing, schedule.next_after(now), look_ahead(now, nothing), count, timezone)
    return NextFires(definition, tuple(found))


async def next_of_job(container: Container, job_id: str, count: int) -> NextFires:
    """The next fires of a job. Raises JobNotFoundError, InvalidJobError, CalendarNotFoundError."""
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
    return NextFires(job.definition, tuple(upcoming(job.schedule, job.exclusions, job.next_run, until, count, zone)))

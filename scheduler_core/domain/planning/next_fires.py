"""When a job fires next, as far as its schedule and the calendars at hand can say."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice

from scheduler_core.domain.calendars.calendars import Calendar, Exclusions
from scheduler_core.domain.errors import InvalidScheduleError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.domain.planning.segments import allowed_occurrences
from scheduler_core.domain.schedule import ScheduleType, parse_schedule
from scheduler_core.domain.schedule.base import LATEST, from_micros
from scheduler_core.domain.schedule.zone import find_zone
from scheduler_core.domain.wording import shown

_MOST = 100_000
_CENTURY = timedelta(days=36_525)


def next_fires(
    job: ScheduleJob,
    after: datetime,
    count: int,
    *,
    default_timezone: str = "UTC",
    calendars: Iterable[Calendar] = (),
) -> list[datetime]:
    """The next `count` occurrences of `job` strictly after `after`, in UTC; fewer if there are no more.

    Parameters: after, an aware instant; count, 0 to 100,000; default_timezone, the IANA name for a job
    without `timezone`; calendars, of which those are applied that the job names, for a century: some schedules
    and calendars exclude each other for ever. Needs no server, so it takes `after` for the moment at which the job
    was first stored: an INTERVAL without `start_at` counts from it, and a ONCE without value fires at it.

    Raises InvalidScheduleError for a naive `after`, and a count out of range.
    """
    if not isinstance(after, datetime) or after.utcoffset() is None:
        raise InvalidScheduleError(f"`after` can't be {shown(after)}: give an aware datetime, as datetime.now(UTC).")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MOST:
        raise InvalidScheduleError(f"`count` can't be {shown(count)}: give a whole number from 0 to {_MOST}.")
    schedule = parse_schedule(
        job.schedule_type,
        job.schedule_value,
        timezone=job.timezone or default_timezone,
        anchor=after,
        start_at=job.start_at,
        end_at=job.end_at,
        dst=job.dst,
    )
    fires_when_stored = job.schedule_type == ScheduleType.ONCE and job.schedule_value is None
    instant = schedule.first(after) if fires_when_stored else schedule.next_after(after)
    named = tuple(calendar for calendar in calendars if calendar.name in job.calendars)
    exclusions = Exclusions(named, find_zone(job.timezone or default_timezone))
    allowed = allowed_occurrences(schedule, exclusions, instant, look_ahead(after, exclusions))
    return [at for at, _ in islice(allowed, count)]


def look_ahead(after: datetime, exclusions: Exclusions) -> datetime:
    """How far to look for occurrences that are allowed: where there are calendars, a century."""
    end = from_micros(LATEST)
    return after + min(_CENTURY, end - after) if exclusions.calendars else end

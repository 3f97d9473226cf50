"""What code and operators do to calendars: add, extend, reduce, remove. Any process may, leader or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scheduler_core.domain.access.actor import Actor
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.errors import (
    CalendarInUseError,
    CalendarNotFoundError,
    InvalidJobError,
    JobConflictError,
)
from scheduler_core.domain.jobs.job import JobDefinition
from scheduler_core.domain.wording import did_you_mean
from scheduler_core.ports.jobs import Calendars

MAX_TRIES = 20
"""A calendar that others change meanwhile is read and changed again, that often."""


@dataclass(frozen=True, slots=True)
class CalendarOperations:
    """The verbs, for one process.

    Parameters: calendars, where they are stored; actor, who acts.
    """

    calendars: Calendars
    actor: Actor

    async def get(self, name: str) -> Calendar:
        """Raises CalendarNotFoundError, also if the row was edited by hand and can't be read."""
        found = (await self.calendars.load([name])).get(name)
        if found is None:
            names = await self.calendars.load()
            raise CalendarNotFoundError(
                f"there is no calendar {name!r}{did_you_mean(name, names)}: `scheduler calendars list` shows those "
                "that exist"
            )
        return found.calendar

    async def put(self, calendar: Calendar) -> bool:
        """Store a calendar, in place of one of the same name; False if that one says the same already.

        What it excludes or allows from now on counts for every occurrence that is not claimed yet.
        """
        return await self.calendars.save(calendar, version=None, actor=self.actor)

    async def extend(self, calendar: Calendar) -> Calendar:
        """Add to the calendar of this name what this one excludes; returns the whole. A missing one is created."""
        return await self._change(calendar, lambda stored: stored.united(calendar))

    async def reduce(self, calendar: Calendar) -> Calendar:
        """Take from the calendar of this name what this one excludes; returns the rest.

        Raises CalendarNotFoundError.
        """
        await self.get(calendar.name)
        return await self._change(calendar, lambda stored: stored.without(calendar))

    async def remove(self, name: str) -> None:
        """Remove a calendar that no job names. Raises CalendarInUseError, CalendarNotFoundError."""
        removed = await self.calendars.remove(name, self.actor)
        if removed.job_count:
            more = removed.job_count - len(removed.job_ids)
            jobs = ", ".join(map(repr, removed.job_ids)) + (f" and {more} more" if more else "")
            raise CalendarInUseError(
                f"the calendar {name!r} is named by {removed.job_count} job{'s'[: removed.job_count > 1]} ({jobs}): "
                "take it out of their definitions first"
            )
        if not removed.existed:
            await self.get(name)

    async def check_jobs(self, definitions: Sequence[JobDefinition]) -> None:
        """Refuse jobs that name calendars which don't exist. Raises InvalidJobError, saying how to create them."""
        named = {name for definition in definitions for name in definition.calendars}
        if not named:
            return
        missing = named.difference(await self.calendars.load(named))
        for definition in definitions:
            for name in definition.calendars:
                if name in missing:
                    near = did_you_mean(name, await self.calendars.load())
                    raise InvalidJobError(
                        f"job {definition.job_id!r} names the calendar {name!r}, which does not exist{near}: create "
                        f"it first, with `scheduler calendars add {name}`, `scheduler calendars import {name} FILE` "
                        "or SchedulerService.add_calendar(Calendar(...))"
                    )

    async def _change(self, calendar: Calendar, change: Callable[[Calendar], Calendar]) -> Calendar:
        for _ in range(MAX_TRIES):
            found = (await self.calendars.load([calendar.name])).get(calendar.name)
            wanted = change(found.calendar) if found is not None else calendar
            if found is not None and wanted == found.calendar:
                return wanted
            if await self.calendars.save(wanted, version=found.version if found is not None else 0, actor=self.actor):
                return wanted
        raise JobConflictError(
            f"the calendar {calendar.name!r} was changed by others {MAX_TRIES} times, or its row can't be read: "
            "try again, or replace it as a whole"
        )

"""What code and operators do to jobs: declare, change, pause, resume, remove, trigger.

Any process may do these, leader or not: they go through Postgres. Each change of an existing job is one
`settle`, computed from the row as read and refused if the row has moved; then it is read and computed again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from scheduler_core.domain.access.actor import Actor
from scheduler_core.domain.errors import (
    InvalidJobError,
    JobConflictError,
    JobNotFoundError,
    JobVersionNotFoundError,
)
from scheduler_core.domain.jobs.abilities import is_bound_to_program
from scheduler_core.domain.jobs.job import JobDefinition, ScheduleJob
from scheduler_core.domain.planning.planning import StoredJob, due_at, settlement, with_cursor
from scheduler_core.domain.runs.run import Origin, Run
from scheduler_core.domain.schedule import ScheduleType
from scheduler_core.domain.schedule.once import is_same_once
from scheduler_core.engine.clock import SYSTEM_CLOCK, MachineClock
from scheduler_core.engine.clock_guard import believed_now, expected_now
from scheduler_core.engine.operations.calendars import CalendarOperations
from scheduler_core.engine.remote.executors import check_executor
from scheduler_core.ports.runs import InvalidRow, Settlement
from scheduler_core.ports.storage import Storage

MAX_TRIES = 20
"""A job that fires every few milliseconds moves under an operator's hands: read and compute again, that often."""

Change = Callable[[StoredJob, datetime], "Settlement | None"]


@dataclass(slots=True)
class Operations:
    """The verbs, for one process.

    Parameters: storage; instance_id, which process acts; actor, on whose behalf, for the log; started_at, when this
    process registered, by the database's clock: a newer process's declaration wins over an older one's; application,
    whose code names the callbacks, None where none does; clock_jump_limit_seconds, beyond which a jump of that clock is
    not gone by, 0 for any.
    """

    storage: Storage
    instance_id: str
    actor: Actor
    started_at: datetime | None = None
    application: str | None = None
    clock_jump_limit_seconds: float = 0.0
    machine: MachineClock = SYSTEM_CLOCK
    _declared: dict[str, JobDefinition] = field(default_factory=dict)

    @property
    def declared(self) -> Iterable[JobDefinition]:
        """What this process has declared, and not removed since."""
        return self._declared.values()

    def forget(self, job_id: str) -> bool:
        """Declare the job no more; whether it was declared."""
        return self._declared.pop(job_id, None) is not None

    def check_declaration(self, definition: JobDefinition | ScheduleJob) -> None:
        """Refuse a second job under an id that this process already uses for another kind of schedule.

        Raises InvalidJobError. Two such definitions in one process are a name clash, not an edit.
        """
        earlier = self._declared.get(definition.job_id)
        if earlier is not None and earlier.schedule_type != definition.schedule_type:
            raise InvalidJobError(
                f"job_id {definition.job_id!r} is already used in this process by a job of type "
                f"{earlier.schedule_type!s}, and now comes as {definition.schedule_type!s}: give one of them another "
                "id, or remove the first one before"
            )

    async def declare(self, definitions: Sequence[JobDefinition], *, at_run_time: bool = False) -> Sequence[StoredJob]:
        """Store the jobs that code declares: new ones are added, changed ones settled, the same left alone.

        Parameters: at_run_time, whether code adds them that is running already, so that no start declares them anew.
        Returns those that were added. Raises InvalidJobError, before anything is stored, if two of them share an id or
        one names a calendar or an executor that does not exist.
        """
        seen: set[str] = set()
        for definition in definitions:
            if definition.job_id in seen:
                raise InvalidJobError(
                    f"job_id {definition.job_id!r} stands twice among the jobs to add: give one of them another id"
                )
            seen.add(definition.job_id)
            self.check_declaration(definition)
            check_executor(definition)
        if any(definition.calendars for definition in definitions):
            await self._calendars().check_jobs(definitions)
        now = await self._now()
        ordered = sorted(definitions, key=attrgetter("job_id"))
        new = (self._new_job(definition, now, at_run_time) for definition in ordered)
        declared = await self.storage.jobs.declare(new, self.instance_id, self.actor)
        changed = set(declared.changed)
        for definition in ordered:
            if definition.job_id in changed:
                await self._redeclare(definition, at_run_time)
            self._declared[definition.job_id] = definition
        return declared.added

    async def _redeclare(self, definition: JobDefinition, at_run_time: bool) -> None:
        """Settle a job that stands there with another definition, unless that one is newer than ours."""
        earlier = self._declared.get(definition.job_id)

        def change(job: StoredJob, now: datetime) -> Settlement | None:
            if not self._may_replace(job, definition, earlier, at_run_time):
                return None
            return redefinition(job, definition, now, self._signature(job, definition, at_run_time))

        for _ in range(MAX_TRIES):
            try:
                await self._settle(definition.job_id, change)
                return
            except JobNotFoundError:
                # Removed in between: then it is a new one.
                now = await self._now()
                new = self._new_job(definition, now, at_run_time)
                if (await self.storage.jobs.declare([new], self.instance_id, self.actor)).added:
                    return
        raise JobConflictError(f"job {definition.job_id!r} keeps being added and removed by others: try again")

    def _may_replace(
        self, job: StoredJob, new: JobDefinition, earlier: JobDefinition | None, at_run_time: bool
    ) -> bool:
        is_same = job.digest == new.digest
        if earlier is not None:
            # What this process said before is no news; what it says anew is a change on purpose.
            return not is_same and earlier.digest != new.digest
        if self.started_at is None:
            # A command, and no replica: an operator means it.
            return not is_same
        if is_same and job.set_aside is None:
            # As it stands there, but for whose it is: Postgres has said that it is to be this program's from now on.
            is_ours = job.application == self._owner_of(new) and (at_run_time or not job.added_at_run_time)
            return not is_ours and self._wins_over(job)
        if new.digest == job.set_aside:
            # The definition that an operator's revert replaced is no news either; one that agrees with the revert is:
            # from then on code may declare the other again.
            return False
        return self._wins_over(job)

    def _wins_over(self, job: StoredJob) -> bool:
        """Whether this process is no older than the one whose declaration stands there."""
        return job.declared_since is None or self.started_at is None or self.started_at >= job.declared_since

    def _signature(self, job: StoredJob, new: JobDefinition, at_run_time: bool | None = None) -> dict[str, Any]:
        """Whose definition it is from now on. What an operator edits stays code's as long as it calls the same."""
        signature = {"declared_by": self.instance_id, "declared_since": self.started_at, "set_aside": None}
        if self.application is not None:
            return {**signature, "application": self._owner_of(new), "added_at_run_time": at_run_time}
        keeps = job.application if new.callback == job.definition.callback else None
        return {**signature, "application": keeps}

    def _new_job(self, definition: JobDefinition, now: datetime, at_run_time: bool = False) -> StoredJob:
        """The job as it begins when it is first stored now."""
        schedule = definition.schedule(now)
        first = schedule.first(now) if definition.enabled else None
        return StoredJob(
            definition,
            1,
            now,
            schedule,
            first,
            due_at(definition, schedule, first),
            application=self._owner_of(definition),
            added_at_run_time=at_run_time if self.application is not None else None,
        )

    def _owner_of(self, definition: JobDefinition) -> str | None:
        """Whose function the callback is: this program's, if it has its module; of none, where it only names it."""
        reference = definition.callback
        is_here = is_bound_to_program(reference) or reference.partition(":")[0] in sys.modules
        return self.application if is_here else None

    def _calendars(self) -> CalendarOperations:
        return CalendarOperations(self.storage.calendars, self.actor)

    async def add(self, definition: JobDefinition) -> StoredJob:
        """Store a job that is not there yet.

        Raises JobConflictError if there is one of this id, whatever it is; InvalidJobError for a calendar or an
        executor that does not exist.
        """
        check_executor(definition)
        await self._calendars().check_jobs([definition])
        new = self._new_job(definition, await self._now())
        declared = await self.storage.jobs.declare([new], self.instance_id, self.actor)
        if not declared.added:
            raise JobConflictError(f"there is a job {definition.job_id!r} already: edit that one, or give another id")
        return new

    async def edit(self, definition: JobDefinition, *, seen: int | None) -> bool:
        """Put another definition in a job's place; False if it has this one already.

        Occurrences up to now are accounted for by the definition that goes; a pause stays. Parameters: seen, as for
        `pause`. Raises JobNotFoundError, JobConflictError, InvalidJobError for a calendar or an executor that does
        not exist.
        """
        check_executor(definition)
        await self._calendars().check_jobs([definition])

        def change(job: StoredJob, now: datetime) -> Settlement | None:
            if job.definition == definition and job.set_aside is None:
                return None
            return redefinition(job, definition, now, self._signature(job, definition))

        return await self._settle(definition.job_id, change, seen)

    async def revert(self, job_id: str, version: int, *, seen: int | None = None) -> bool:
        """Bring back the definition that a job had from `version` on; False if it has that one now.

        The operator's state (paused, disabled after failures) stays as it is. Occurrences up to now are accounted for
        by the definition that goes. Code that declares what it declared before does not undo this; code that declares
        anything else does. Raises JobNotFoundError, JobVersionNotFoundError, and InvalidJobError if the definition
        can't be read any more or names a calendar that does not exist.
        """
        definition = await self.storage.jobs.definition_at(job_id, version)
        if definition is None:
            raise JobVersionNotFoundError(
                f"there is no definition of job {job_id!r} under version {version}: `scheduler audit changes --job "
                f"{job_id}` shows those that there were"
            )
        check_executor(definition)
        await self._calendars().check_jobs([definition])

        def change(job: StoredJob, now: datetime) -> Settlement | None:
            of_code = job.set_aside or job.digest
            set_aside = of_code if of_code != definition.digest else None
            if job.definition == definition and job.set_aside == set_aside:
                return None
            signature = {"set_aside": set_aside, "application": self._signature(job, definition)["application"]}
            return replace(redefinition(job, definition, now, signature), reverts_to=version)

        return await self._settle(job_id, change, seen)

    async def pause(
        self,
        job_id: str,
        *,
        until: datetime | None = None,
        by: str | None = None,
        note: str | None = None,
        seen: int | None = None,
    ) -> None:
        """Stop a job from firing, until it is resumed or until an instant; a redeploy does not undo it.

        Parameters: seen, the version that the operator decided on; if another stands, nothing is changed and
        JobConflictError raised. Raises JobNotFoundError, InvalidJobError.
        """
        if until is not None and until.tzinfo is None:
            raise InvalidJobError("pause until: give an instant with a time zone, as 2026-01-31T09:00:00+00:00")

        def change(job: StoredJob, now: datetime) -> Settlement:
            if until is not None and until <= now:
                raise InvalidJobError(f"pause until {until.isoformat()}: that is in the past")
            paused = replace(job, paused_at=job.paused_at or now, paused_until=until)
            plan = settlement(job, now, "paused")
            changes = {
                "paused_at": paused.paused_at,
                "paused_until": until,
                "paused_by": by or self.instance_id,
                "pause_note": note,
            }
            return Settlement(with_cursor(plan, paused, plan.next_run), changes)

        await self._settle(job_id, change, seen)

    async def resume(self, job_id: str, *, seen: int | None = None) -> None:
        """Let a job fire again, whether it was paused or disabled after failures.

        What fell due meanwhile is counted as missed, not made up for. Parameters: seen, as for `pause`.
        Raises JobNotFoundError, JobConflictError.
        """

        def change(job: StoredJob, now: datetime) -> Settlement | None:
            if job.paused_at is None and job.auto_disabled_at is None:
                return None
            resumed = replace(job, paused_at=None, paused_until=None, auto_disabled_at=None)
            plan = settlement(job, now, _silenced_by(job, now))
            changes = {
                "paused_at": None,
                "paused_until": None,
                "paused_by": None,
                "pause_note": None,
                "auto_disabled_at": None,
                "consecutive_failures": 0,
            }
            return Settlement(with_cursor(plan, resumed, plan.next_run), changes)

        await self._settle(job_id, change, seen)

    async def remove(self, job_id: str, *, seen: int | None = None) -> None:
        """Remove a job; its history stays. `seen` as for `pause`. Raises JobNotFoundError, JobConflictError."""
        await self._settle(job_id, lambda job, now: Settlement(settlement(job, now, "removed"), {}, remove=True), seen)
        self.forget(job_id)

    async def trigger(self, job_id: str, origin: Origin = Origin.TRIGGER, run_id: UUID | None = None) -> Run:
        """Add a run for now, beside the schedule; the leader starts it at once.

        Parameters: run_id, for those who must know it before. Raises JobNotFoundError.
        """
        at = await expected_now(self.storage, self.clock_jump_limit_seconds, self.machine)
        run = await self.storage.runs.trigger(job_id, origin, run_id, at)
        if run is None:
            raise _not_found(job_id)
        return run

    async def _now(self) -> datetime:
        return await believed_now(self.storage, self.clock_jump_limit_seconds, self.machine)

    async def _settle(self, job_id: str, change: Change, seen: int | None = None) -> bool:
        """Make the change, if there is one to make; whether there was. `seen` is the version that it was decided on."""
        for _ in range(MAX_TRIES):
            found = await self.storage.jobs.load([job_id])
            if not found:
                raise _not_found(job_id)
            job = found[0]
            if isinstance(job, InvalidRow):
                raise InvalidJobError(
                    f"the row of job {job_id!r} can't be read ({job.problem}): correct it in SQL, or delete it there"
                )
            if seen is not None and job.version != seen:
                raise JobConflictError(
                    f"job {job_id!r} is at version {job.version} by now, and this was decided on version {seen}: "
                    "nothing was changed; look at it again, and repeat"
                )
            now = await self._now()
            wanted = change(job, now)
            if wanted is None:
                return False
            if await self.storage.jobs.settle(wanted, self.actor, now):
                return True
        raise JobConflictError(f"job {job_id!r} was changed by others {MAX_TRIES} times in a row: try again")


def redefinition(job: StoredJob, definition: JobDefinition, now: datetime, signature: Mapping[str, Any]) -> Settlement:
    """Settle the old definition and put the new one in its place.

    An unchanged schedule keeps its cursor; a changed one goes on with its first occurrence after now. The anchor stays
    as long as both count from one, so that no edit moves an interval's phase. What an operator did stays.
    """
    anchor = job.anchor if _counts_alike(job.definition, definition) else now
    schedule = definition.schedule(anchor)
    # A ONCE that keeps its instant, whatever else changes, does not come a second time.
    same_schedule = job.definition.schedule_digest == definition.schedule_digest or is_same_once(job.schedule, schedule)
    changed = replace(
        job,
        definition=definition,
        anchor=anchor,
        schedule=schedule,
        finished_at=job.finished_at if same_schedule else None,
    )
    plan = settlement(job, now, _silenced_by(job, now) or (None if definition.enabled else "disabled"))
    if same_schedule and job.definition.enabled:
        cursor = plan.next_run
    elif same_schedule and job.finished_at is not None:
        cursor = None
    else:
        cursor = changed.schedule.first(now)
    columns = {name: getattr(definition, name) for name in (f.name for f in fields(definition)) if name != "job_id"}
    changes = {
        **columns,
        "digest": definition.digest,
        "schedule_digest": definition.schedule_digest,
        "anchor": anchor,
        "finished_at": changed.finished_at,
        **signature,
    }
    return Settlement(with_cursor(plan, changed, cursor), changes)


def _counts_alike(old: JobDefinition, new: JobDefinition) -> bool:
    """Whether what counts from an anchor in the new definition did so in the old one."""
    if old.schedule_type != new.schedule_type:
        return False
    return new.schedule_type is not ScheduleType.ONCE or (old.schedule_value is None) == (new.schedule_value is None)


def _silenced_by(job: StoredJob, now: datetime) -> str | None:
    """Why nothing of a job fires now, whatever is due; None where it does. A pause that has ended silences nothing."""
    if job.is_paused(now):
        return "paused"
    return "disabled" if job.auto_disabled_at is not None else None


def _not_found(job_id: str) -> JobNotFoundError:
    return JobNotFoundError(f"there is no job {job_id!r}: `scheduler jobs list` shows those that exist")

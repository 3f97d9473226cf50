"""What code declares to one replica: jobs and calendars, before its start and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.errors import CalendarNotFoundError, InvalidJobError, JobNotFoundError
from scheduler_core.domain.jobs.abilities import Abilities
from scheduler_core.domain.jobs.job import JobDefinition, ScheduleJob
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.domain.runs.ticket import LOCAL
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.election.exchange import LoopPulse
from scheduler_core.engine.operations.calendars import CalendarOperations
from scheduler_core.engine.operations.jobs import Operations
from scheduler_core.engine.status_cache import CHUNK, StatusCache
from scheduler_core.ports.storage import Storage


@dataclass(frozen=True, slots=True)
class DeclaredJobs:
    """What was declared in one go, and those of it that were not there before."""

    definitions: Sequence[JobDefinition]
    added: Sequence[StoredJob]

    @property
    def job_ids(self) -> list[str]:
        return [definition.job_id for definition in self.definitions]

    @property
    def executors(self) -> set[str]:
        """What is to call them, but for this replica itself."""
        return {definition.executor for definition in self.definitions} - {LOCAL}


class Declarations:
    """The jobs that this process's code declares, stored at the start and whenever one is added.

    Parameters: callbacks, where the jobs' callbacks are kept; default_timezone and default_executor, of jobs without
    one.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        instance_id: str,
        callbacks: CallbackRegistry,
        operations: Operations,
        calendar_operations: CalendarOperations,
        statuses: StatusCache,
        default_timezone: str,
        default_executor: str,
        logger: LoggerLike,
    ) -> None:
        self._storage = storage
        self._instance_id = instance_id
        self._callbacks = callbacks
        self._operations = operations
        self._calendar_operations = calendar_operations
        self._statuses = statuses
        self._default_timezone = default_timezone
        self._default_executor = default_executor
        self._logger = logger
        self._waiting: dict[str, ScheduleJob] = {}
        """Jobs that were added before the start, until they are stored."""
        self._calendars: dict[str, Calendar] = {}
        self._announced = Abilities()

    # Before the start.

    def keep(self, jobs: Sequence[ScheduleJob]) -> None:
        """Keep these jobs for the start. Raises InvalidJobError."""
        for job_id, count in Counter(job.job_id for job in jobs).items():
            if count > 1:
                raise InvalidJobError(
                    f"job_id {job_id!r} stands twice among the jobs to add: give one of them another id"
                )
        for job in jobs:
            earlier = self._waiting.get(job.job_id)
            if earlier is not None and earlier.schedule_type != job.schedule_type:
                raise InvalidJobError(
                    f"job_id {job.job_id!r} was added before with schedule_type {earlier.schedule_type!s}, now with "
                    f"{job.schedule_type!s}: give one of them another id, or remove the first one before"
                )
            self._operations.check_declaration(job)
        self._waiting.update((job.job_id, job) for job in jobs)
        self._statuses.add(jobs)

    def keep_calendar(self, calendar: Calendar) -> None:
        """Have this calendar stored by each start."""
        self._calendars[calendar.name] = calendar

    def forget(self, job_id: str) -> None:
        """Keep this job no more. Raises JobNotFoundError if it was not added."""
        if not self._operations.forget(job_id) and job_id not in self._waiting:
            raise JobNotFoundError(f"there is no job {job_id!r} among those added so far")
        self.drop(job_id)

    def forget_calendar(self, name: str) -> None:
        """Keep this calendar no more. Raises CalendarNotFoundError if it was not added."""
        if name not in self._calendars:
            raise CalendarNotFoundError(f"there is no calendar {name!r} among those added so far")
        del self._calendars[name]

    # At the start and after.

    async def store_all(self) -> DeclaredJobs:
        """Store what was declared before this start, also before an earlier one."""
        for calendar in self._calendars.values():
            await self._calendar_operations.put(calendar)
        waiting = list(self._waiting.values())
        again = [definition for definition in self._operations.declared if definition.job_id not in self._waiting]
        stored = await self._store(waiting, again, at_run_time=False)
        self._waiting.clear()
        return stored

    async def store(self, jobs: Sequence[ScheduleJob]) -> DeclaredJobs:
        """Store jobs that are added while the replica runs. Raises InvalidJobError, before anything is stored."""
        self._warn_of_what_others_lack(jobs)
        stored = await self._store(jobs, (), at_run_time=True)
        self._statuses.add(jobs)
        await self._statuses.refresh(stored.job_ids[:CHUNK])
        return stored

    async def _store(
        self, jobs: Sequence[ScheduleJob], again: Sequence[JobDefinition], *, at_run_time: bool
    ) -> DeclaredJobs:
        made = (job.definition(self._default_timezone, default_executor=self._default_executor) for job in jobs)
        definitions = [*again, *made]
        for definition in definitions:
            self._operations.check_declaration(definition)
        for job in jobs:
            self._callbacks.bind(job.job_id, job.callback)
        for definition in definitions:
            doubt = self._callbacks.check_arguments(definition, self._callbacks.application)
            if doubt is not None:
                self._logger.warning("job %r: %s", definition.job_id, doubt)
        added = await self._operations.declare(definitions, at_run_time=at_run_time) if definitions else ()
        return DeclaredJobs(definitions, added)

    def _warn_of_what_others_lack(self, jobs: Sequence[ScheduleJob]) -> None:
        """A job that is added at run time is to fire also once this process is gone: say where it can't."""
        told: set[str] = set()
        for job in jobs:
            problem = self._callbacks.problem_elsewhere(job.callback)
            if problem is not None and problem not in told:
                told.add(problem)
                self._logger.warning(
                    "job %r can be called by this process alone, and will wait once it is gone: %s. Move the callback "
                    "to the top level of a module of the application, or mark it with @callback",
                    job.job_id,
                    problem,
                )

    def drop_calendar(self, name: str) -> None:
        """The calendar was removed."""
        self._calendars.pop(name, None)

    def drop(self, job_id: str) -> None:
        """The job was removed."""
        self._waiting.pop(job_id, None)
        self._statuses.remove(job_id)
        self._callbacks.unbind(job_id)

    async def announce(self, pulse: LoopPulse) -> None:
        """Say what can be called here, if that is news."""
        abilities = pulse.abilities = self._callbacks.abilities()
        if abilities != self._announced:
            await self._storage.jobs.announce(self._instance_id, abilities)
            self._announced = abilities

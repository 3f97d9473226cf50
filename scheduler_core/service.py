"""The facade: a static class, for services that have one scheduler, and a decorator that declares jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID

import scheduler_core
from scheduler_core.admin.status import iterate_job_statuses
from scheduler_core.domain.calendars.calendars import Calendar
from scheduler_core.domain.errors import AlreadyInitializedError, InvalidJobError, NotInitializedError
from scheduler_core.domain.jobs.backfill import MOST_OCCURRENCES, Backfill
from scheduler_core.domain.jobs.callback import callback_reference, is_importable_reference
from scheduler_core.domain.jobs.job import STATE_FIELDS, ScheduleJob
from scheduler_core.domain.jobs.job import job as signature_of_job
from scheduler_core.domain.jobs.status import JobStatus
from scheduler_core.domain.planning.next_fires import next_fires as instants_of
from scheduler_core.domain.runs.run import LoggerLike, Run, RunStatus, run_uuid
from scheduler_core.domain.signature import written_out
from scheduler_core.engine.callbacks.own_modules import note_declaring_module
from scheduler_core.engine.callbacks.registry import mark_callback
from scheduler_core.engine.callbacks.resolution import functions_defined_in
from scheduler_core.jobs_file.fields import SCHEDULES
from scheduler_core.ports.election import Locks

if TYPE_CHECKING:
    from scheduler_core.container import Container, ServiceContainer
    from scheduler_core.engine.scheduler import BaseScheduler
    from scheduler_core.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_declared: dict[str, ScheduleJob] = {}

_INSTEAD = {
    "schedule_type": "say when by every=, daily=, cron= or once=",
    "schedule_value": "say when by every=, daily=, cron= or once=",
    "callback": "it is the function below",
}


def _declare(job_id: str, **given: Any) -> Callable[[F], F]:
    """What `job` does, with what it was given."""
    for name in (*_INSTEAD, *STATE_FIELDS):
        if name in given:
            raise InvalidJobError(
                f"@job({job_id!r}) takes no {name}: {_INSTEAD.get(name, 'the scheduler keeps it itself')}"
            )
    values = {name: given.pop(name) for name in SCHEDULES if name in given}
    chosen = [name for name, value in values.items() if value is not (... if name == "once" else None)]
    if len(chosen) != 1:
        raise InvalidJobError(
            f"@job({job_id!r}) needs exactly one of every=, daily=, cron=, once=, and has {len(chosen)}"
        )
    given["name"] = given.get("name") or job_id
    schedule_type, schedule_value = SCHEDULES[chosen[0]], values[chosen[0]]

    def declare(function: F) -> F:
        if job_id in _declared and _declared[job_id].callback is not function:
            raise InvalidJobError(f"@job({job_id!r}) stands at two functions: give one of them another id")
        note_declaring_module(getattr(function, "__module__", None) or "__main__")
        _declared[job_id] = ScheduleJob(
            job_id=job_id, schedule_type=schedule_type, schedule_value=schedule_value, callback=function, **given
        )
        return function

    return declare


job = written_out(_declare)(signature_of_job)


def callback(function: F) -> F:
    """Mark a function as one that jobs may name, whoever adds them: code, the API, the command line, a file.

    It stands at the top level of a module, or of a class there as a static or class method, so that every process finds
    it by its name.

    Args:
        function: What jobs may name.

    Returns:
        The function as it is.

    Raises:
        InvalidJobError: The function stands where no other process finds it by its name.
    """
    reference = callback_reference(function)
    if not is_importable_reference(reference):
        raise InvalidJobError(
            f"@callback stands at {reference}, which no other process finds by its name: move it to the top level of "
            "a module"
        )
    note_declaring_module(function.__module__)
    mark_callback(function)
    return function


def register_callbacks(module: ModuleType) -> list[str]:
    """Mark every function that a module itself defines at its top level, but for those that begin with an underscore.

    Nothing that it has imported is marked.

    Args:
        module: The module, imported.

    Returns:
        The names of what was marked, as jobs would give them.

    Raises:
        TypeError: What was given is no module.
    """
    if not isinstance(module, ModuleType):
        raise TypeError(f"register_callbacks takes a module, not {type(module).__name__}: import it, and pass it")
    note_declaring_module(module.__name__)
    return [mark_callback(function) for function in functions_defined_in(module)]


def declared_jobs() -> list[ScheduleJob]:
    """The jobs that `@job` has declared in this process so far.

    Returns:
        The jobs, in the order in which they were declared.
    """
    return list(_declared.values())


def next_fires(job: ScheduleJob, after: datetime, count: int, *, calendars: Iterable[Calendar] = ()) -> list[datetime]:
    """The first instants after a given one at which a job is due; needs no server.

    A job without a time zone of its own is read in the settings' one, else the host's, as when it is stored. `after`
    stands for the moment at which the job is first stored: an INTERVAL without `start_at` counts from it, and a ONCE
    without value fires at it.

    Args:
        job: The job, stored or not.
        after: An aware instant; what is due at it is left out.
        count: How many instants, 0 to 100,000.
        calendars: Of these the ones that the job names are applied, for a century; the stored ones are not asked for.

    Returns:
        The instants in UTC, in order; fewer than `count` if there are no more.

    Raises:
        InvalidScheduleError: `after` is naive, `count` is out of range, or the schedule can never fire within
            bounds that are in that zone.
        InvalidSettingsError: The job names no zone, and the settings can't be read or the host's zone can't be told.
    """
    from scheduler_core.settings import load_settings

    zone = job.timezone or load_settings().default_timezone
    return instants_of(job, after, count, default_timezone=zone, calendars=calendars)


def _containers() -> type[ServiceContainer]:
    """Imported on first use: it brings SQLAlchemy and the drivers along, which `import` need not wait for."""
    # Through the package, which explains an import that fails because another `storage` stands before ours.
    return scheduler_core.ServiceContainer


class SchedulerService:
    """This process's scheduler.

    `init` reads settings and wires; `start` connects, migrates if allowed, and returns once this replica takes
    part; `stop` lets running work end; `shutdown` closes everything, after which `init` may be called again.

    The scheduler lives in the event loop that starts it, and all verbs are called there. Those that ask a server raise
    ServerUnreachableError while it can't be reached.

    Raises:
        TypeError: It is used as it is, without an instance.
    """

    _container: ClassVar[Container | None] = None
    _lock_service: ClassVar[Locks | None] = None

    def __init__(self) -> None:
        raise TypeError("SchedulerService is used as it is, without an instance: SchedulerService.init(...)")

    @classmethod
    def init(
        cls,
        lock_service: Locks | None = None,
        *,
        settings: Settings | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        """Read the settings and wire; nothing is connected yet.

        Calling it again is harmless, unless with other arguments.

        Args:
            lock_service: Any object with `acquire`, `renew` and `release`, for jobs with `use_distributed_lock`. None:
                ours on the configured Redis.
            settings: None: read from the environment and `scheduler.toml`.
            logger: Any object with a stdlib logger's methods. None: the logger `scheduler_core`.

        Raises:
            AlreadyInitializedError: It was called before with other arguments.
            InvalidJobError: The lock service lacks one of its methods.
            InvalidSettingsError: A setting is wrong, or there is none of that name.
        """
        for method in ("acquire", "renew", "release"):
            if lock_service is not None and not callable(getattr(lock_service, method, None)):
                raise InvalidJobError(
                    f"the lock service has no method {method!r}: pass LockService(redis), or an object with "
                    "acquire, renew and release"
                )
        if cls._container is not None and cls._container.is_inherited:
            cls._container.leave_to_parent()
            cls._container = cls._lock_service = None
        if cls._container is not None:
            other_settings = settings is not None and settings != cls._container.settings
            if other_settings or (lock_service is not None and lock_service is not cls._lock_service):
                raise AlreadyInitializedError(
                    "SchedulerService.init was called before with other arguments: await shutdown() first"
                )
            return
        containers = _containers()
        current = containers.get() if settings is None and logger is None else None
        own = lock_service
        if current is not None and lock_service is not None and current.uses(lock_service):
            cls._container = current
        else:
            cls._container = containers.configure(settings, lock_service=own, logger=logger)
        cls._lock_service = lock_service

    @classmethod
    def is_initialized(cls) -> bool:
        """Whether `init` has been called, in this process: a forked child needs a scheduler of its own."""
        return cls._container is not None and not cls._container.is_inherited

    @classmethod
    def _require(cls) -> Container:
        if cls._container is None:
            raise NotInitializedError("call SchedulerService.init() first")
        return cls._container

    @classmethod
    def get_scheduler(cls) -> BaseScheduler:
        """The scheduler behind the facade.

        Raises:
            NotInitializedError: Before `init`.
        """
        return cls._require().get_scheduler()

    @classmethod
    async def start(cls) -> None:
        """Connect, migrate if allowed, store the jobs, take part. Starting twice is harmless.

        The scheduler lives in the event loop that starts it, and all verbs are called there. Where it raises, nothing
        runs.

        Raises:
            NotInitializedError: Before `init`.
            ServerUnreachableError: Postgres or Redis can't be reached, or refuses us.
            EmbeddedServerError: No URL is set, and an embedded server can't be started.
            SchemaError: The database's schema does not fit this code, or may not be changed.
            InvalidJobError: One of the jobs can't be accepted.
            InvalidSettingsError: A setting can't be gone by, as a URL that can't be read.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        container = cls._require()
        container.get_scheduler().home.check("start")
        if not container.get_scheduler().is_running:
            await container.start(declared_jobs())

    @classmethod
    async def stop(cls) -> None:
        """Let running work end and leave the election; `start` may be called again. Stopping twice is harmless.

        What runs has `drain_timeout` (seconds) to end; the rest is cancelled and left to recovery.

        Raises:
            NotInitializedError: Before `init`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        await cls._require().stop()

    @classmethod
    async def shutdown(cls) -> None:
        """Stop, close every connection, forget the settings. Harmless before `init`, and in a forked child.

        Raises:
            WrongLoopError: The scheduler goes on in another event loop.
        """
        if cls.is_initialized():
            cls._require().check_here("shutdown")
        container, cls._container = cls._container, None
        cls._lock_service = None
        if container is not None:
            await container.close()
            containers = _containers()
            if containers._container is container:
                containers._container = None

    @classmethod
    async def add_job(cls, job: ScheduleJob) -> None:
        """Add or update a job; before `start` it is kept and stored then.

        Args:
            job: The job; one of the same `job_id` gets this definition.

        Raises:
            InvalidJobError: The job can't be accepted.
            TypeError: What was given is no `ScheduleJob`.
            NotInitializedError: Before `init`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        await cls.get_scheduler().add_job(job)

    @classmethod
    async def add_jobs(cls, jobs: Sequence[ScheduleJob]) -> None:
        """Add or update many jobs at once; before `start` they are kept and stored then.

        Args:
            jobs: The jobs, each with an id of its own.

        Raises:
            InvalidJobError: One of them can't be accepted; nothing has been stored.
            TypeError: One of them is no `ScheduleJob`.
            NotInitializedError: Before `init`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        await cls.get_scheduler().add_jobs(list(jobs))

    @classmethod
    async def remove_job(cls, job_id: str) -> None:
        """Remove a job; its history stays.

        Args:
            job_id: Which job.

        Raises:
            JobNotFoundError: There is no such job; before `start`, none was added here.
            NotInitializedError: Before `init`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        await cls.get_scheduler().remove_job(job_id)

    @classmethod
    async def add_calendar(cls, calendar: Calendar) -> None:
        """Add or replace a named calendar; before `start` it is kept and stored then, before the jobs.

        Args:
            calendar: The calendar; one of the same name is replaced.

        Raises:
            TypeError: What was given is no `Calendar`.
            NotInitializedError: Before `init`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        await cls.get_scheduler().add_calendar(calendar)

    @classmethod
    async def remove_calendar(cls, name: str) -> None:
        """Remove a calendar that no job names.

        Args:
            name: Which calendar.

        Raises:
            CalendarInUseError: A job names it.
            CalendarNotFoundError: There is no such calendar; before `start`, none was added here.
            NotInitializedError: Before `init`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        await cls.get_scheduler().remove_calendar(name)

    @classmethod
    async def fetch_calendar(cls, name: str) -> Calendar:
        """A calendar as the database has it now.

        Args:
            name: Which calendar.

        Returns:
            The calendar.

        Raises:
            CalendarNotFoundError: There is no such calendar, or its row was edited by hand and can't be read.
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("fetch_calendar")
        return await cls._require().get_calendars().get(name)

    @classmethod
    async def trigger_job(cls, job_id: str) -> Run:
        """Run a job now, beside its schedule; also one that is paused or disabled. The leader starts it at once.

        Args:
            job_id: Which job.

        Returns:
            The run as it was added, not begun yet.

        Raises:
            JobNotFoundError: There is no such job.
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("trigger_job")
        return await cls.get_scheduler().operations.trigger(job_id)

    @classmethod
    async def backfill_job(
        cls, job_id: str, start: datetime, end: datetime, *, limit: int = MOST_OCCURRENCES
    ) -> Backfill:
        """Make up for the occurrences of a past range that have no run, in order, one at a time.

        With the overlap policy "allow" they execute side by side. Asking twice makes nothing twice.

        Args:
            job_id: Which job.
            start: The range's beginning, an aware instant, inclusive.
            end: Its end, an aware instant in the past, inclusive.
            limit: The most occurrences that the range may hold.

        Returns:
            What was made, and what had a run.

        Raises:
            JobNotFoundError: There is no such job.
            InvalidJobError: The range is naive, turned round, in the future, before what the history keeps, or holds
                more than `limit` occurrences; or the job names a calendar that is missing.
            JobConflictError: The job was changed meanwhile.
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("backfill_job")
        return await cls.get_scheduler().run_operations.backfill(job_id, start, end, limit=limit)

    @classmethod
    async def rerun(cls, run_id: UUID | str) -> Run:
        """Run a finished run's job again, now, by the job's definition of today.

        Args:
            run_id: Which run, a UUID or its text.

        Returns:
            The new run.

        Raises:
            RunNotFoundError: There is no such run.
            RunStateError: The run has not ended.
            JobNotFoundError: Its job was removed.
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("rerun")
        return await cls.get_scheduler().run_operations.rerun(run_uuid(run_id))

    @classmethod
    async def cancel_run(cls, run_id: UUID | str, *, by: str | None = None) -> RunStatus:
        """Cancel a run, running or waiting, without a retry. Cancelling a cancelled run is harmless.

        Args:
            run_id: Which run, a UUID or its text.
            by: Who asks, for those who wonder later. None: this replica, by its instance id.

        Returns:
            CANCELLED, or RUNNING while its owner sees to it. A coroutine is cancelled; a callback in a thread can't be
            stopped, and its run ends as cancelled when it returns.

        Raises:
            RunNotFoundError: There is no such run.
            RunStateError: The run had ended before.
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("cancel_run")
        return (await cls.get_scheduler().run_operations.cancel(run_uuid(run_id), by)).status

    @classmethod
    async def pause_job(
        cls, job_id: str, *, until: datetime | None = None, by: str | None = None, note: str | None = None
    ) -> None:
        """Stop a job from firing until it is resumed; a redeploy does not undo it.

        Args:
            job_id: Which job.
            until: An aware instant to come, at which the pause ends by itself. None: only `resume_job` ends it.
            by: Who asks, for those who wonder later. None: this replica, by its instance id.
            note: Why, for people.

        Raises:
            JobNotFoundError: There is no such job.
            InvalidJobError: `until` is naive or past.
            JobConflictError: Others kept changing the job.
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("pause_job")
        await cls.get_scheduler().operations.pause(job_id, until=until, by=by, note=note)

    @classmethod
    async def resume_job(cls, job_id: str) -> None:
        """Let a paused or automatically disabled job fire again; what fell due meanwhile is counted as missed.

        Args:
            job_id: Which job.

        Raises:
            JobNotFoundError: There is no such job.
            JobConflictError: Others kept changing the job.
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("resume_job")
        await cls.get_scheduler().operations.resume(job_id)

    @classmethod
    async def revert_job(cls, job_id: str, version: int) -> bool:
        """Bring back the definition that a job had from `version` of `scheduler_audit.job_changes` on.

        The same code does not undo it.

        Args:
            job_id: Which job.
            version: From which version on the job had the definition.

        Returns:
            False if the job has that definition now.

        Raises:
            JobNotFoundError: There is no such job.
            JobVersionNotFoundError: The log has no definition of the job under this version.
            InvalidJobError: The definition can't be read any more, or names a calendar or an executor that does not
                exist.
            JobConflictError: Others kept changing the job.
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("revert_job")
        return await cls.get_scheduler().revert_job(job_id, version)

    @classmethod
    async def resign(cls) -> None:
        """Let another replica lead; harmless for one that does not.

        Raises:
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("resign")
        await cls.get_scheduler().resign()

    @classmethod
    def get_job_status(cls, job_id: str) -> JobStatus | None:
        """The last known state of a job that this process added.

        Args:
            job_id: Which job.

        Returns:
            The state from memory, without asking the database; None for any other job.

        Raises:
            NotInitializedError: Before `init`.
        """
        return cls.get_scheduler().get_job_status(job_id)

    @classmethod
    def get_all_jobs_status(cls) -> dict[str, JobStatus]:
        """The last known state of the jobs that this process added, by job_id.

        Raises:
            NotInitializedError: Before `init`.
        """
        return cls.get_scheduler().get_all_jobs_status()

    @classmethod
    async def fetch_job_status(cls, job_id: str) -> JobStatus | None:
        """A job's state as the database has it now.

        Args:
            job_id: Which job.

        Returns:
            The state; None if there is no such job.

        Raises:
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("fetch_job_status")
        states = await cls._require().job_statuses([job_id])
        return states[0] if states else None

    @classmethod
    async def fetch_all_jobs_status(cls) -> AsyncIterator[JobStatus]:
        """Every job's state as the database has it now, in constant memory.

        Yields:
            One state after the other, in the order of their ids.

        Raises:
            NotInitializedError: Before `start`.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        cls._require_started("fetch_all_jobs_status")
        async for status in iterate_job_statuses(cls._require()):
            yield status

    @classmethod
    def _require_started(cls, verb: str) -> None:
        scheduler = cls.get_scheduler()
        scheduler.home.check(verb)
        if not scheduler.is_running:
            raise NotInitializedError("call `await SchedulerService.start()` first")

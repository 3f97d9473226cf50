"""From settings to a scheduler that is ready to start: a replica's life, apart from what it does."""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Sequence
from importlib import metadata

from scheduler_core.container.servers import Servers
from scheduler_core.container.stores import Stores
from scheduler_core.domain.election.trust import RedisOutage
from scheduler_core.domain.errors import (
    ExecutorError,
    RefusedForNowError,
    SchedulerError,
    ServerUnreachableError,
)
from scheduler_core.domain.jobs.job import JobDefinition, ScheduleJob
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.domain.runs.ticket import OFFERED
from scheduler_core.engine.alerts.alarm_watch import AlarmStores, AlarmWatch
from scheduler_core.engine.alerts.webhook_client import Webhook
from scheduler_core.engine.callbacks.own_modules import OwnModules
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.operations.tables import TableScheduler
from scheduler_core.engine.remote.executors import ENTRY_POINTS, Executors, Factories
from scheduler_core.engine.remote.worker import Worker
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.election import Instance, Locks
from scheduler_core.ports.executor import Executor, ExecutorContext
from scheduler_core.runtime.this_host import host_name
from scheduler_core.runtime.version import version
from scheduler_core.settings import Settings, load_settings
from scheduler_core.storage.alerts.alarms import AlarmStore
from scheduler_core.storage.alerts.outbox import Outbox
from scheduler_core.storage.postgres.clock import ClockStore
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.sqlstates import Condition, condition_of_error

_of_parents: list[Container] = []


class Container(Stores):
    """Everything that one replica, or one command, is made of; each part is made when it is first asked for.

    Args:
        settings: None: read from the environment and `scheduler.toml`.
        lock_service: For jobs with `use_distributed_lock`. None: ours on the configured Redis.
        logger: Any object with a stdlib logger's methods. None: the logger `scheduler_core`.

    Raises:
        InvalidSettingsError: The settings are read here, and one is wrong.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        lock_service: Locks | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        settings = settings or load_settings()
        super().__init__(settings, Servers(settings, lock_service), logger)
        self._scheduler: BaseScheduler | None = None
        self._alarm_watch: AlarmWatch | None = None
        self._beside: Container | None = None
        TableScheduler.connect(self.get_tables)

    def beside(self) -> Container:
        """Another container on the same servers, for another event loop.

        Connections belong to the loop that made them. It is closed by whoever asked for it, before this one is.
        """
        settings = self.settings.model_copy(update={"database_url": self.database_url, "redis_url": self.redis_url})
        other = Container(settings, logger=self._logger)
        other._beside = self
        # Callbacks that look after tables run in this one's loop.
        TableScheduler.disconnect(other.get_tables)
        return other

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the one whose scheduler this is: then it can't be used here."""
        return self._scheduler is not None and self._scheduler.home.is_inherited

    def check_here(self, verb: str) -> None:
        """Refuse a call in another event loop than the one in which the scheduler goes on, or in a forked child.

        Args:
            verb: What was called, as the error names it.

        Raises:
            WrongLoopError: The scheduler lives elsewhere.
        """
        home = None if self._scheduler is None else self._scheduler.home
        if home is not None and (home.is_inherited or not home.has_ended):
            home.check(verb)

    def leave_to_parent(self) -> None:
        """In a forked child: let go of what is the parent's, touching nothing."""
        # Not even collected: what tasks and transports do as they go would reach the parent's event loop, through
        # the epoll that both share.
        _of_parents.append(self)

    def get_webhook(self) -> Webhook | None:
        """Where notifications go; None where the settings name no receiver.

        Raises:
            InvalidSettingsError: The library that sends is not installed.
        """
        settings = self.settings
        if settings.webhook_url is None:
            return None
        return Webhook(settings.webhook_url, settings.webhook_keys, timeout_seconds=settings.webhook_timeout)

    def _get_alarm_watch(self) -> AlarmWatch:
        if self._alarm_watch is None:
            self._alarm_watch = AlarmWatch(
                self._open_alarm_stores,
                webhook=self.get_webhook(),
                interval_seconds=self.settings.alarm_interval,
                clock_jump_limit_seconds=self.settings.clock_jump_limit,
                overdue_seconds=self.settings.overdue_seconds,
                logger=self.log,
            )
        return self._alarm_watch

    def _open_alarm_stores(self) -> AlarmStores:
        """In the thread of the watch: on connections of its own."""
        database = Database(self.database_url, self.settings.schema, pool_size=2)
        me = self.get_scheduler().instance.instance_id
        delivers = self.settings.webhook_url is not None
        return AlarmStores(AlarmStore(database, me, delivers), Outbox(database, me), ClockStore(database), database)

    @property
    def replica(self) -> BaseScheduler | None:
        """The scheduler made here, or in the container that this one stands beside; None in one that only serves."""
        return self._beside.replica if self._beside is not None else self._scheduler

    def check_arguments(self, definition: JobDefinition) -> None:
        """Refuse arguments that a job's callback does not take, if this process has it or may import it.

        Importing takes as long as it takes: in a loop that others wait for, call this in a thread.

        Args:
            definition: The job as it would be stored.

        Raises:
            InvalidArgumentsError: The callback does not take them.
        """
        replica = self.replica
        settings = self.settings
        callbacks = CallbackRegistry("", settings.allowed_callbacks) if replica is None else replica.callbacks
        callbacks.check_arguments(definition)

    def get_scheduler(self) -> BaseScheduler:
        """This replica's scheduler."""
        if self._scheduler is None:
            settings = self.settings
            self._scheduler = BaseScheduler(
                storage=self.get_storage(),
                instance=self._instance(),
                timing=settings.timing,
                locks=self.get_lock_service,
                default_timezone=settings.default_timezone,
                default_executor=settings.default_executor,
                max_concurrent_runs=settings.max_concurrent_runs,
                drain_timeout_seconds=settings.drain_timeout,
                history_days=settings.history_days,
                clock_jump_limit_seconds=settings.clock_jump_limit,
                redis_outage=settings.redis_outage,
                application=settings.application_name,
                allowed_callbacks=settings.allowed_callbacks,
                own_modules=self._own_modules(),
                is_application_named=settings.application is not None,
                executors=Executors(self._find_executors),
                logger=self._logger,
            )
        return self._scheduler

    def _find_executors(self) -> Factories:
        """What makes each installed executor, by the name of its entry point."""
        context = ExecutorContext(
            settings={
                **self.settings.model_dump(mode="json", exclude_none=True),
                "database_url": self.database_url,
                "redis_url": self.redis_url,
                "timezone": self.settings.default_timezone,
                "application": self.settings.application_name,
            },
            instance_name=self.settings.instance_name or host_name(),
            abilities=self.get_scheduler().callbacks.abilities,
            logger=self.log,
        )
        return {
            entry.name: functools.partial(_make_executor, entry, context)
            for entry in metadata.entry_points(group=ENTRY_POINTS)
        }

    def make_worker(self, max_concurrent_runs: int) -> Worker:
        """A worker for this process, which makes attempts that some leader gives out; its owner starts and stops it.

        Args:
            max_concurrent_runs: How many callbacks it executes at once.

        Returns:
            The worker, not started yet.
        """
        settings = self.settings
        return Worker(
            storage=self.get_storage(),
            instance=self._instance(),
            timing=settings.timing,
            locks=self.get_lock_service,
            max_concurrent_runs=max_concurrent_runs,
            application=settings.application_name,
            clock_jump_limit_seconds=settings.clock_jump_limit,
            allowed_callbacks=settings.allowed_callbacks,
            own_modules=self._own_modules(),
            logger=self._logger,
        )

    def _own_modules(self) -> OwnModules:
        return OwnModules(self.settings.app, is_trusted=self.settings.callbacks == "application")

    async def prepare(self) -> None:
        """Have the schema and the partitions of the next days.

        Raises:
            ServerUnreachableError: Postgres can't be reached, or refuses us.
            SchemaError: The schema does not fit this code, or may not be changed.
        """
        from scheduler_core.storage.postgres import migrate

        if self.settings.auto_migrate:
            await migrate.upgrade_async(await self.find_database_url(), self.settings.schema)
        if (notice := await self.check_schema()) is not None:
            self.log.warning("%s", notice)
        try:
            await self.create_history()
        except SchedulerError as error:
            if condition_of_error(error) is not Condition.FORBIDDEN:
                raise
            # What is there is enough for today; doctor says until when.
            self.log.error(
                "the history's partitions ahead can't be made by this role, so it starts with those there are: %s; "
                "`scheduler doctor` says what to grant",
                error,
            )

    async def check_schema(self) -> str | None:
        """Whether this code works with the schema; for commands that change none.

        Returns:
            What there is to say where the schema is not exactly this version's own; None where it is.

        Raises:
            SchemaError: This code does not work with the schema.
            ServerUnreachableError: Postgres can't be reached, or refuses us.
        """
        from scheduler_core.storage.postgres import migrate

        return await migrate.check(await self.find_database_url(), self.settings.schema)

    async def start(self, jobs: Sequence[ScheduleJob] = ()) -> BaseScheduler:
        """Prepare, and start this replica with these jobs and those added before. Where it raises, nothing runs.

        Args:
            jobs: What is to be declared, as by `add_jobs`.

        Returns:
            The scheduler, which takes part.

        Raises:
            ServerUnreachableError: Postgres or Redis can't be reached, or refuses us.
            SchemaError: The schema does not fit this code, or may not be changed.
            EmbeddedServerError: No URL is set, and an embedded server can't be started.
            InvalidJobError: One of the jobs can't be accepted.
            InvalidSettingsError: A setting can't be gone by, as a URL that can't be read.
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        scheduler = self.get_scheduler()
        scheduler.home.check("start")
        await self.prepare()
        await self._require_redis()
        alarm_watch = self._get_alarm_watch()
        if not scheduler.is_running:
            await scheduler.add_jobs(jobs)
            # Inherited by the scheduler's tasks, and so by every callback.
            with TableScheduler.on(self.get_tables):
                await scheduler.start()
        alarm_watch.start()
        return scheduler

    async def stop(self) -> None:
        """Stop the scheduler; it may be started again.

        Raises:
            WrongLoopError: The scheduler lives in another event loop, or this is a forked child.
        """
        try:
            if self._scheduler is not None:
                await self._scheduler.stop()
        finally:
            # Last: what fails while the replica drains is told as well.
            if self._alarm_watch is not None:
                await self._alarm_watch.stop()

    async def close(self) -> None:
        """Stop the scheduler, close the connections, end embedded servers that this process started."""
        if self.is_inherited:
            self.leave_to_parent()
            return
        try:
            await self.stop()
        finally:
            TableScheduler.disconnect(self.get_tables)
            self._scheduler = self._alarm_watch = self._storage = None
            await self._servers.close()

    def _instance(self) -> Instance:
        host, pid = host_name(), os.getpid()
        name = self.settings.instance_name or host
        return Instance(
            # Unique per process start: three replicas on one host must not be one (oban-py #32).
            instance_id=f"{name}-{pid}-{secrets.token_hex(4)}",
            instance_name=name,
            host=host,
            pid=pid,
            version=version(),
            eligible=self.settings.eligible,
            executes=tuple(sorted(OFFERED)) if self.settings.executes else (),
            slots=self.settings.max_concurrent_runs,
        )

    async def _anybody_ever_led(self) -> bool:
        return bool((await self.get_audit().leader()).get("term"))

    async def _require_redis(self) -> None:
        """A Redis that can't be reached at a start: a wrong setting, or an outage?

        Where nobody has ever led it is taken for a wrong setting and raised; one that answers that it can't just now is
        the right one. Where the scheduler has run before, `redis_outage` decides: under "hold" a replica may start and
        lead by Postgres alone.
        """
        lease = self.open_lease()
        try:
            await lease.ping()
        except ServerUnreachableError as error:
            known = isinstance(error, RefusedForNowError) or await self._anybody_ever_led()
            if self.settings.redis_outage is RedisOutage.STOP or not known:
                raise
        finally:
            await lease.close()


def _make_executor(entry: metadata.EntryPoint, context: ExecutorContext) -> Executor:
    """Raises ExecutorError, whatever a plug-in raises."""
    try:
        executor: Executor = entry.load()(context)
    except SchedulerError:
        raise
    except Exception as error:
        raise ExecutorError(
            f"the executor {entry.name!r} ({entry.value}) can't be made: {type(error).__name__}: {error}"
        ) from error
    return executor

"""The one place where engine and storage meet: from settings to a scheduler that is ready to start.

Alembic is imported only where the schema is looked at: it is heavier than all the rest together.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import getpass
import logging
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any
from uuid import UUID

from scheduler_core.domain.actor import Actor, Source
from scheduler_core.domain.errors import (
    ExecutorError,
    RefusedForNowError,
    RunNotFoundError,
    SchedulerError,
    ServerUnreachableError,
)
from scheduler_core.domain.job import JobDefinition, JobStatus, ScheduleJob
from scheduler_core.domain.run import LoggerLike
from scheduler_core.domain.trust import RedisOutage
from scheduler_core.engine.alerts.alarm_watch import AlarmStores, AlarmWatch
from scheduler_core.engine.alerts.webhook_client import Webhook
from scheduler_core.engine.callbacks.own_modules import OwnModules
from scheduler_core.engine.callbacks.registry import CallbackRegistry
from scheduler_core.engine.operations.calendars import CalendarOperations
from scheduler_core.engine.operations.jobs import Operations
from scheduler_core.engine.operations.runs import RunOperations
from scheduler_core.engine.operations.tables import TableScheduler, look_after_history
from scheduler_core.engine.remote.executors import ENTRY_POINTS, Executors, Factories
from scheduler_core.engine.remote.worker import Worker
from scheduler_core.engine.scheduler import BaseScheduler
from scheduler_core.ports.election import Instance, Locks
from scheduler_core.ports.executor import Executor, ExecutorContext
from scheduler_core.ports.storage import Storage
from scheduler_core.settings import Settings, load_settings
from scheduler_core.storage.access.idempotency import IdempotencyStore
from scheduler_core.storage.access.sessions import SessionStore
from scheduler_core.storage.access.tokens import TokenStore
from scheduler_core.storage.alerts.alarms import AlarmStore
from scheduler_core.storage.alerts.outbox import Outbox
from scheduler_core.storage.fire.requests import RequestStore
from scheduler_core.storage.fire.runs import HOT_PATH_SETTINGS, RunStore
from scheduler_core.storage.fire.terms import PostgresControlSession, host_name
from scheduler_core.storage.jobs.calendars import CalendarStore
from scheduler_core.storage.jobs.definitions import JobStore
from scheduler_core.storage.postgres.clock import ClockStore
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.keys import LEASE_NAME, lease_name
from scheduler_core.storage.postgres.partitions import Partitions
from scheduler_core.storage.postgres.rights import Rights
from scheduler_core.storage.postgres.sqlstates import Condition, condition_of_error
from scheduler_core.storage.postgres.url import parse_url, server_name
from scheduler_core.storage.reads.activity import ActivityStore
from scheduler_core.storage.reads.audit import Audit
from scheduler_core.storage.reads.audit_questions import Auditor
from scheduler_core.storage.reads.export import RunExport
from scheduler_core.storage.reads.listings import Listings
from scheduler_core.storage.reads.observations import Observations
from scheduler_core.storage.reads.pages import Pages
from scheduler_core.storage.redis.leases import LeaseStore
from scheduler_core.storage.redis.locks import LockService
from scheduler_core.storage.redis.url import connect, redis_server_name
from scheduler_core.storage.tables.maintenance import TableStore

if TYPE_CHECKING:
    from scheduler_core.storage.embedded import EmbeddedServers

LOCK_TIMEOUT_SECONDS = 1.0

PAGE_SETTINGS = {"statement_timeout": "5s", "jit": "off"}
"""Of the sessions that read for pages: one that asks for too much is told so, and compiles nothing."""


_of_parents: list[Container] = []


class Container:
    """Everything that one replica, or one command, is made of; each part is made when it is first asked for.

    Parameters: settings, read from the environment and `scheduler.toml` where not given; logger, any object with
    a stdlib logger's methods; lock_service, for jobs with `use_distributed_lock`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        lock_service: Locks | None = None,
        logger: LoggerLike | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        self._logger = logger
        self._lock_service = lock_service
        self._lock_client: Any = None
        self._servers: EmbeddedServers | None = None
        self._database: Database | None = None
        self._engine_database: Database | None = None
        self._pages_database: Database | None = None
        self._tables_database: Database | None = None
        self._storage: Storage | None = None
        self._scheduler: BaseScheduler | None = None
        self._alarm_watch: AlarmWatch | None = None
        self._beside: Container | None = None
        TableScheduler.connect(self.get_tables)

    def beside(self) -> Container:
        """Another container on the same servers, for another event loop: connections belong to the loop that made
        them. It is closed by whoever asked for it, before this one is.
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
        """Raises WrongLoopError in another event loop than the one in which the scheduler goes on."""
        home = None if self._scheduler is None else self._scheduler.home
        if home is not None and (home.is_inherited or not home.has_ended):
            home.check(verb)

    def leave_to_parent(self) -> None:
        """In a forked child: let go of what is the parent's, touching nothing."""
        # Not even collected: what tasks and transports do as they go would reach the parent's event loop, through
        # the epoll that both share.
        _of_parents.append(self)

    @property
    def database_url(self) -> str:
        """The configured Postgres, else the embedded one, which is started."""
        return self.settings.database_url or self._embedded().database_url

    @property
    def redis_url(self) -> str:
        """The configured Redis, else the embedded one, which is started."""
        return self.settings.redis_url or self._embedded().redis_url

    @property
    def servers(self) -> str:
        """The servers, for people: hosts and ports, no password."""
        postgres = server_name(parse_url(self.database_url))
        return f"Postgres {postgres}, Redis {redis_server_name(self.redis_url)}"

    def _embedded(self) -> EmbeddedServers:
        if self._servers is None:
            from scheduler_core.storage.embedded import shared

            self._servers = shared.take(self.settings.data_dir)
        return self._servers

    def get_lock_service(self) -> Locks:
        """The lock service on the configured Redis."""
        if self._lock_service is None:
            self._lock_client = connect(self.redis_url, timeout_seconds=LOCK_TIMEOUT_SECONDS)
            self._lock_service = LockService(self._lock_client)
        return self._lock_service

    def get_database(self) -> Database:
        """Statements on the configured Postgres, for reports and operators."""
        if self._database is None:
            self._database = Database(lambda: self.database_url, self.settings.schema)
        return self._database

    def _get_engine_database(self) -> Database:
        """The same for the engine: a report that takes long must not keep a claim waiting for a connection."""
        if self._engine_database is None:
            self._engine_database = Database(
                lambda: self.database_url, self.settings.schema, settings=HOT_PATH_SETTINGS
            )
        return self._engine_database

    def _get_pages_database(self) -> Database:
        """The same for pages that people look at: few connections, and no statement that goes on for long."""
        if self._pages_database is None:
            self._pages_database = Database(
                lambda: self.database_url, self.settings.schema, pool_size=4, settings=PAGE_SETTINGS
            )
        return self._pages_database

    def get_listings(self) -> Listings:
        """Jobs, runs and changes, page by page."""
        return Listings(self._get_pages_database())

    def get_activity(self) -> ActivityStore:
        """What happens just now."""
        return ActivityStore(self._get_pages_database())

    def get_audit(self) -> Audit:
        """The views that auditors, listings and the doctor read."""
        return Audit(self.get_database())

    def get_rights(self) -> Rights:
        """What the role of the configured Postgres may do."""
        return Rights(self.get_database())

    def get_auditor(self) -> Auditor:
        """The questions that auditors ask; a role that reads only the views may."""
        return Auditor(self.get_database(), self.settings.history_days)

    def get_run_export(self) -> RunExport:
        """The run history, page by page."""
        return RunExport(self.get_database())

    @property
    def user(self) -> Actor:
        """The user of this process."""
        return _user()

    def get_alarms(self) -> AlarmStore:
        """What is wrong with which job, for reports and operators."""
        return AlarmStore(self.get_database(), f"{host_name()}/{os.getpid()}", self.settings.webhook_url is not None)

    def get_outbox(self) -> Outbox:
        """Notifications that wait to be delivered, and those that were."""
        return Outbox(self.get_database(), f"{host_name()}/{os.getpid()}")

    def get_webhook(self) -> Webhook | None:
        """Where notifications go; None where the settings name no receiver. Raises InvalidSettingsError."""
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
                overdue_seconds=self.settings.alarm_overdue,
                logger=self._logger or logging.getLogger("scheduler_core"),
            )
        return self._alarm_watch

    def _open_alarm_stores(self) -> AlarmStores:
        """In the thread of the watch: on connections of its own."""
        database = Database(self.database_url, self.settings.schema, pool_size=2)
        me = self.get_scheduler().instance.instance_id
        delivers = self.settings.webhook_url is not None
        return AlarmStores(AlarmStore(database, me, delivers), Outbox(database, me), ClockStore(database), database)

    def get_tokens(self) -> TokenStore:
        """Who may call the API."""
        return TokenStore(self.get_database())

    def get_sessions(self) -> SessionStore:
        """The browsers that signed in."""
        return SessionStore(self.get_database())

    def get_idempotency(self) -> IdempotencyStore:
        """The answers to requests that may be repeated."""
        return IdempotencyStore(self.get_database())

    def get_pages(self) -> Pages:
        """Listings, a page at a time."""
        return Pages(self._get_pages_database())

    def get_observations(self) -> Observations:
        """What a scrape wants to know of the whole scheduler."""
        return Observations(self.get_database())

    @property
    def replica(self) -> BaseScheduler | None:
        """The scheduler made here, or in the container that this one stands beside; None in one that only serves."""
        return self._beside.replica if self._beside is not None else self._scheduler

    def get_storage(self) -> Storage:
        """Jobs, runs, the control session and the lease on the configured servers."""
        if self._storage is None:
            database = self._get_engine_database()
            partitions = Partitions(database)
            jobs = JobStore(database, partitions)

            self._storage = Storage(
                jobs=jobs,
                runs=RunStore(database, partitions, timeout_seconds=self.settings.timing.statement_timeout_seconds),
                requests=RequestStore(database, partitions),
                calendars=CalendarStore(database),
                clock=ClockStore(database),
                open_control=self._open_control,
                open_lease=self._open_lease,
                maintain=self._maintain,
            )
        return self._storage

    def get_tables(self) -> TableStore:
        """The tables of table families, the scheduler's own history among them."""
        direct = self.settings.control_database_url
        if direct is not None and self._tables_database is None:
            self._tables_database = Database(direct, self.settings.schema, pool_size=2)
        return TableStore(self.get_database(), direct=self._tables_database, history_days=self.settings.history_days)

    async def create_history(self) -> None:
        """Have the partitions of the run history, from yesterday's to those ahead."""
        tables = self.get_tables()
        await tables.create_history(await tables.today())

    async def _maintain(self) -> None:
        await look_after_history(self.get_tables(), self._logger or logging.getLogger("scheduler_core"))

    def get_calendars(self, actor: Actor | None = None) -> CalendarOperations:
        """The verbs on calendars; `actor` is who uses them, the user of this process by default."""
        return CalendarOperations(self.get_storage().calendars, actor or self.user)

    def get_operations(self, actor: Actor | None = None) -> Operations:
        """The verbs on jobs, for a process that is no replica; `actor` as for `get_calendars`."""
        who = f"{host_name()}/{os.getpid()}"
        limit_seconds = self.settings.clock_jump_limit
        return Operations(self.get_storage(), who, actor or self.user, clock_jump_limit_seconds=limit_seconds)

    def get_run_operations(self) -> RunOperations:
        """The verbs on runs, for a process that is no replica."""
        actor = f"{host_name()}/{os.getpid()}"
        return RunOperations(
            self.get_storage(),
            actor,
            history_days=self.settings.history_days,
            clock_jump_limit_seconds=self.settings.clock_jump_limit,
        )

    def get_clock(self) -> ClockStore:
        """What is stored of the database's clock, for reports and operators."""
        return ClockStore(self.get_database())

    def check_arguments(self, definition: JobDefinition) -> None:
        """Refuse arguments that a job's callback does not take, if this process has it or may import it.

        Importing takes as long as it takes: in a loop that others wait for, call this in a thread.
        Raises InvalidArgumentsError.
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
            logger=self._logger or logging.getLogger("scheduler_core"),
        )
        return {
            entry.name: functools.partial(_make_executor, entry, context)
            for entry in metadata.entry_points(group=ENTRY_POINTS)
        }

    def make_worker(self, max_concurrent_runs: int) -> Worker:
        """A worker for this process, which makes attempts that some leader gives out; its owner starts and stops it."""
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

        Raises ServerUnreachableError, SchemaError.
        """
        url, schema = await asyncio.to_thread(lambda: self.database_url), self.settings.schema
        from scheduler_core.storage.postgres import migrate

        if self.settings.auto_migrate:
            await migrate.upgrade_async(url, schema)
        if (notice := await migrate.check(url, schema)) is not None:
            (self._logger or logging.getLogger("scheduler_core")).warning("%s", notice)
        try:
            await self.create_history()
        except SchedulerError as error:
            if condition_of_error(error) is not Condition.FORBIDDEN:
                raise
            # What is there is enough for today; doctor says until when.
            log = self._logger or logging.getLogger("scheduler_core")
            log.error(
                "the history's partitions ahead can't be made by this role, so it starts with those there are: %s; "
                "`scheduler doctor` says what to grant",
                error,
            )

    async def start(self, jobs: Sequence[ScheduleJob] = ()) -> BaseScheduler:
        """Prepare, and start this replica with these jobs and those added before.

        Raises ServerUnreachableError, SchemaError, InvalidJobError, WrongLoopError; then nothing runs.
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
        """Stop the scheduler; it may be started again."""
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
            await self._close_all()

    async def _close_all(self) -> None:
        """Each of them whatever became of the others; what is asked for from now on is made anew."""
        databases = (self._database, self._engine_database, self._tables_database, self._pages_database)
        lock_client, servers = self._lock_client, self._servers
        TableScheduler.disconnect(self.get_tables)
        self._scheduler = self._alarm_watch = self._storage = self._servers = None
        self._database = self._engine_database = self._tables_database = self._pages_database = None
        if lock_client is not None:
            self._lock_client = self._lock_service = None
        # The last one in is the first to close.
        async with contextlib.AsyncExitStack() as closing:
            if servers is not None:
                from scheduler_core.storage.embedded import shared

                closing.push_async_callback(asyncio.to_thread, shared.give_back, servers)
            if lock_client is not None:
                closing.push_async_callback(_close_client, lock_client)
            for database in databases:
                if database is not None:
                    closing.push_async_callback(database.close)

    # Reading.

    async def check_schema(self) -> str | None:
        """For commands that change no schema. Raises SchemaError, ServerUnreachableError.

        Returns what there is to say where the schema is not exactly this version's own.
        """
        from scheduler_core.storage.postgres import migrate

        return await migrate.check(await asyncio.to_thread(lambda: self.database_url), self.settings.schema)

    async def lease_remaining_seconds(self) -> float | None:
        """How long the lease still runs; None where nobody holds it, it never ends, or Redis can't say."""
        async with self._named_lease() as lease:
            try:
                view = await lease.read()
            except ServerUnreachableError:
                return None
        return None if view is None else view.remaining_seconds

    async def lease_troubles(self) -> list[dict[str, Any]]:
        """Who else goes by this scheduler's name on this Redis. Raises ServerUnreachableError."""
        leader = await self._leaders_nonce()
        async with self._named_lease() as lease:
            view, elsewhere = await lease.read(), await lease.elsewhere()
        found = [
            {
                "kind": "lease",
                "subject": other.instance_id or "-",
                "detail": "leads on another copy of this database, or on its server before the last start or failover, "
                f"by this same Redis: that server was started at {other.server}; each has a lease of its own",
            }
            for other in elsewhere
        ]
        if view is not None and view.token != leader:
            detail = "holds the lease in Redis and does not lead by this database"
            if view.remaining_seconds is None:
                detail += "; that lease never ends by itself: the replicas outlive it"
            found.append({"kind": "lease", "subject": view.instance_id or f"token {view.token:.40}", "detail": detail})
        return found

    async def _leaders_nonce(self) -> str | None:
        row = await self.get_database().fetch_one("SELECT nonce FROM {schema}.leader")
        return None if row is None else row.nonce

    @contextlib.asynccontextmanager
    async def _named_lease(self) -> AsyncIterator[LeaseStore]:
        """The lease of the server that the pool is with."""
        schema = self.settings.schema
        row = await self.get_database().fetch_one(LEASE_NAME)
        assert row is not None
        lease = self._open_lease()
        lease.go_by(lease_name(row, schema))
        try:
            yield lease
        finally:
            await lease.close()

    async def ask_to_resign(self, term: int, by: str | None = None) -> bool:
        """Ask the leader of this term, wherever it is, to give it up; False if it has ended.

        Parameters: by, who asks, the user of this process by default.
        """
        return await self.get_storage().requests.ask_to_resign(term, by or self.user.name)

    async def job_statuses(self, job_ids: Sequence[str]) -> list[JobStatus]:
        """Counters and state of jobs, as the database has them."""
        return await self.get_storage().jobs.states(job_ids)

    async def run_details(self, run_id: UUID) -> dict[str, Any]:
        """One run with its attempts. Raises RunNotFoundError."""
        found = await self.get_audit().run(run_id)
        if found is None:
            raise RunNotFoundError(f"there is no run {run_id}: `scheduler runs list` shows those that exist")
        return found

    # Making.

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
        )

    def _open_control(self) -> PostgresControlSession:
        url = self.settings.control_database_url or self.database_url
        return PostgresControlSession(url, self.settings.schema, ttl_seconds=self.settings.lease_ttl)

    def _open_lease(self) -> LeaseStore:
        return LeaseStore(self.redis_url, timeout_seconds=self.settings.timing.redis_timeout_seconds)

    async def _anybody_ever_led(self) -> bool:
        return bool((await self.get_audit().leader()).get("term"))

    async def _require_redis(self) -> None:
        """A Redis that can't be reached at a start: a wrong setting, or an outage?

        Where nobody has ever led it is taken for a wrong setting and raised; one that answers that it can't just now is
        the right one. Where the scheduler has run before, `redis_outage` decides: under "hold" a replica may start and
        lead by Postgres alone.
        """
        lease = self._open_lease()
        try:
            await lease.ping()
        except ServerUnreachableError as error:
            known = isinstance(error, RefusedForNowError) or await self._anybody_ever_led()
            if self.settings.redis_outage is RedisOutage.STOP or not known:
                raise
        finally:
            await lease.close()


async def _close_client(client: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop of its connections is closed, and so are they
        await client.aclose()


def _user() -> Actor:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        name = f"uid {os.getuid()}"
    return Actor(Source.CLI, f"{name}@{host_name()}")


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


def version() -> str:
    """The installed version of scheduler-core."""
    try:
        return metadata.version("scheduler-core")
    except metadata.PackageNotFoundError:
        return "0+unknown"


class ServiceContainer:
    """The default container of this process, made from its settings on first use."""

    _container: Container | None = None

    @classmethod
    def configure(
        cls,
        settings: Settings | None = None,
        *,
        lock_service: Locks | None = None,
        logger: LoggerLike | None = None,
    ) -> Container:
        """Make the default container anew. The former one must have been closed."""
        cls._container = Container(settings, lock_service=lock_service, logger=logger)
        TableScheduler.connect(cls._container.get_tables, as_default=True)
        return cls._container

    @classmethod
    def get(cls) -> Container:
        """The default container; in a forked child another one with the settings of its parent's."""
        former = cls._container
        if former is None:
            return cls.configure()
        if former.is_inherited:
            former.leave_to_parent()
            return cls.configure(former.settings, logger=former._logger)
        return former

    @classmethod
    def get_lock_service(cls) -> Locks:
        """The lock service on the configured Redis."""
        return cls.get().get_lock_service()

    @classmethod
    def get_storage(cls) -> Storage:
        """Jobs and runs on the configured servers."""
        return cls.get().get_storage()

    @classmethod
    def get_scheduler(cls) -> BaseScheduler:
        """This process's scheduler."""
        return cls.get().get_scheduler()

    @classmethod
    async def close(cls) -> None:
        """Close what was made; the next call makes it anew."""
        container, cls._container = cls._container, None
        if container is not None:
            await container.close()

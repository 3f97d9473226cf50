"""What is stored on a container's servers: for reports and for operators, and what a scheduler is given."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from scheduler_core.container.servers import Servers
from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.domain.errors import RunNotFoundError
from scheduler_core.domain.jobs.status import JobStatus
from scheduler_core.domain.runs.run import LoggerLike
from scheduler_core.engine.operations.calendars import CalendarOperations
from scheduler_core.engine.operations.jobs import Operations
from scheduler_core.engine.operations.runs import RunOperations
from scheduler_core.engine.operations.tables import look_after_history
from scheduler_core.ports.election import Locks
from scheduler_core.ports.storage import Storage
from scheduler_core.runtime.this_host import host_name
from scheduler_core.settings import Settings
from scheduler_core.storage.access.idempotency import IdempotencyStore
from scheduler_core.storage.access.sessions import SessionStore
from scheduler_core.storage.access.tokens import TokenStore
from scheduler_core.storage.alerts.alarms import AlarmStore
from scheduler_core.storage.alerts.outbox import Outbox
from scheduler_core.storage.fire.control_session import PostgresControlSession
from scheduler_core.storage.fire.offer_listener import PostgresOfferListener
from scheduler_core.storage.fire.requests import RequestStore
from scheduler_core.storage.fire.runs import RunStore
from scheduler_core.storage.jobs.calendars import CalendarStore
from scheduler_core.storage.jobs.definitions import JobStore
from scheduler_core.storage.postgres.clock import ClockStore
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.postgres.partitions import Partitions
from scheduler_core.storage.postgres.rights import Rights
from scheduler_core.storage.reads.activity import ActivityStore
from scheduler_core.storage.reads.audit import Audit
from scheduler_core.storage.reads.audit_questions import Auditor
from scheduler_core.storage.reads.export import RunExport
from scheduler_core.storage.reads.listings import Listings
from scheduler_core.storage.reads.observations import Observations
from scheduler_core.storage.reads.pages import Pages
from scheduler_core.storage.redis.leases import LeaseStore
from scheduler_core.storage.tables.maintenance import TableStore


class Stores:
    """Each part is made when it is asked for, and cheap: all share the servers' connections."""

    def __init__(self, settings: Settings, servers: Servers, logger: LoggerLike | None) -> None:
        self.settings = settings
        self._servers = servers
        self._logger = logger
        self._storage: Storage | None = None

    @property
    def log(self) -> LoggerLike:
        """The logger that was given, else ours."""
        return self._logger or logging.getLogger("scheduler_core")

    @property
    def database_url(self) -> str:
        """The configured Postgres, else the embedded one, which is started.

        Raises:
            EmbeddedServerError: The embedded one can't be started.
        """
        return self._servers.database_url

    async def find_database_url(self) -> str:
        """`database_url`, in a thread: starting servers takes seconds, and others wait for this loop.

        Raises:
            EmbeddedServerError: The embedded one can't be started.
        """
        return await asyncio.to_thread(lambda: self.database_url)

    @property
    def redis_url(self) -> str:
        """The configured Redis, else the embedded one, which is started.

        Raises:
            EmbeddedServerError: The embedded one can't be started.
        """
        return self._servers.redis_url

    @property
    def servers(self) -> str:
        """The servers, for people: hosts and ports, no password."""
        return self._servers.describe()

    def get_lock_service(self) -> Locks:
        """The lock service on the configured Redis."""
        return self._servers.lock_service()

    def uses(self, lock_service: Locks) -> bool:
        """Whether jobs' locks are taken with this lock service already.

        Args:
            lock_service: The one that is asked about.

        Returns:
            True if it was given to this container, or made by it.
        """
        return self._servers.uses(lock_service)

    def open_lease(self) -> LeaseStore:
        """The lease on the configured Redis; whoever opens it closes it."""
        return self._servers.open_lease()

    def get_database(self) -> Database:
        """Statements on the configured Postgres, for reports and operators."""
        return self._servers.reports()

    def get_listings(self) -> Listings:
        """Jobs, runs and changes, page by page."""
        return Listings(self._servers.pages(), overdue_seconds=self.settings.overdue_seconds)

    def get_activity(self) -> ActivityStore:
        """What is running, waiting and due at this moment: what the dashboard's overview reads."""
        return ActivityStore(self._servers.pages(), overdue_seconds=self.settings.overdue_seconds)

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
        return AlarmStore(self.get_database(), process_name(), self.settings.webhook_url is not None)

    def get_outbox(self) -> Outbox:
        """Notifications that wait to be delivered, and those that were."""
        return Outbox(self.get_database(), process_name())

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
        return Pages(self._servers.pages())

    def get_observations(self) -> Observations:
        """What a scrape wants to know of the whole scheduler."""
        return Observations(self.get_database())

    def get_clock(self) -> ClockStore:
        """What is stored of the database's clock, for reports and operators."""
        return ClockStore(self.get_database())

    def get_storage(self) -> Storage:
        """Jobs, runs, the control session and the lease on the configured servers."""
        if self._storage is None:
            database = self._servers.engine()
            partitions = Partitions(database)
            jobs = JobStore(database, partitions)

            self._storage = Storage(
                jobs=jobs,
                runs=RunStore(database, partitions, timeout_seconds=self.settings.timing.statement_timeout_seconds),
                requests=RequestStore(database, partitions),
                calendars=CalendarStore(database),
                clock=ClockStore(database),
                offers=PostgresOfferListener(self._control_url, self.settings.schema),
                open_control=self._open_control,
                open_lease=self.open_lease,
                maintain=self._maintain,
            )
        return self._storage

    def get_tables(self) -> TableStore:
        """The tables of table families, the scheduler's own history among them."""
        return TableStore(self.get_database(), direct=self._servers.direct(), history_days=self.settings.history_days)

    async def create_history(self) -> None:
        """Have the partitions of the run history, from yesterday's to those ahead."""
        tables = self.get_tables()
        await tables.create_history(await tables.today())

    async def _maintain(self) -> None:
        await look_after_history(self.get_tables(), self.log)

    def get_calendars(self, actor: Actor | None = None) -> CalendarOperations:
        """The verbs on calendars.

        Args:
            actor: Who uses them. None: the user of this process.

        Returns:
            The verbs.
        """
        return CalendarOperations(self.get_storage().calendars, actor or self.user)

    def get_operations(self, actor: Actor | None = None) -> Operations:
        """The verbs on jobs, for a process that is no replica.

        Args:
            actor: Who uses them. None: the user of this process.

        Returns:
            The verbs.
        """
        who = process_name()
        limit_seconds = self.settings.clock_jump_limit
        return Operations(self.get_storage(), who, actor or self.user, clock_jump_limit_seconds=limit_seconds)

    def get_run_operations(self) -> RunOperations:
        """The verbs on runs, for a process that is no replica."""
        actor = process_name()
        return RunOperations(
            self.get_storage(),
            actor,
            history_days=self.settings.history_days,
            clock_jump_limit_seconds=self.settings.clock_jump_limit,
        )

    @property
    def _control_url(self) -> str:
        return self.settings.control_database_url or self.database_url

    def _open_control(self) -> PostgresControlSession:
        return PostgresControlSession(self._control_url, self.settings.schema, ttl_seconds=self.settings.lease_ttl)

    async def job_statuses(self, job_ids: Sequence[str]) -> list[JobStatus]:
        """Counters and state of jobs, as the database has them.

        Args:
            job_ids: Which jobs.

        Returns:
            The state of those that there are and that can be read, in the order of their ids.
        """
        return await self.get_storage().jobs.states(job_ids)

    async def run_details(self, run_id: UUID) -> dict[str, Any]:
        """One run with its attempts.

        Args:
            run_id: Which run.

        Returns:
            The columns of the audit view `runs`, and the attempts under `attempt_list`.

        Raises:
            RunNotFoundError: There is no such run.
        """
        found = await self.get_audit().run(run_id)
        if found is None:
            raise RunNotFoundError(f"there is no run {run_id}: `scheduler runs list` shows those that exist")
        return found

    async def ask_to_resign(self, term: int, by: str | None = None) -> bool:
        """Ask the leader of a term, wherever it is, to give it up.

        Args:
            term: Whose leader.
            by: Who asks. None: the user of this process.

        Returns:
            False if the term has ended.
        """
        return await self.get_storage().requests.ask_to_resign(term, by or self.user.name)


def process_name() -> str:
    """This process, as whoever holds something is named in the database."""
    return f"{host_name()}/{os.getpid()}"


def _user() -> Actor:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        name = f"uid {os.getuid()}"
    return Actor(Source.CLI, f"{name}@{host_name()}")

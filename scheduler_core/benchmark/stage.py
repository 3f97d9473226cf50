"""What one measure acts on: a schema of its own on the servers, dropped at the end, its jobs and its leader."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from scheduler_core.benchmark import processes
from scheduler_core.benchmark.replica import Replica, start_replica
from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidSettingsError, SchedulerError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.settings import Settings, load_settings
from scheduler_core.storage import embedded
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.reads.evidence import EvidenceReader
from scheduler_core.storage.reads.measurements import MeasurementReader

READY_WITHIN_SECONDS = 30.0
POLL_SECONDS = 0.02

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, repr=False)
class Servers:
    """Postgres and Redis that measures run on. `embedded` are ours; None where they were configured."""

    database_url: str
    redis_url: str
    control_database_url: str | None
    embedded: embedded.EmbeddedServers | None
    folder: Path
    tell: Tell

    @property
    def is_local(self) -> bool:
        """Whether Postgres reads the same clock as this process."""
        return self.embedded is not None or urlsplit(self.database_url).hostname in {"localhost", "127.0.0.1", "::1"}

    def postgres_cpu_seconds(self) -> float | None:
        """CPU time of the whole Postgres server so far; None where it isn't ours to look at."""
        server = None if self.embedded is None else self.embedded.postgres
        return None if server is None or server.pid is None else processes.tree_cpu_seconds(server.pid)

    @asynccontextmanager
    async def stage(self, name: str) -> AsyncIterator[Stage]:
        """A migrated schema of its own, dropped with the block."""
        settings = load_settings(
            database_url=self.database_url,
            control_database_url=self.control_database_url,
            redis_url=self.redis_url,
            schema=f"scheduler_bench_{name}",
            # Who adds the jobs and who fires them are one program in several processes.
            application="scheduler bench",
            timezone="UTC",
            auto_migrate=True,
            log_level="WARNING",
        )
        database = Database(self.database_url, settings.schema, pool_size=4)
        evidence = EvidenceReader(database)
        try:
            await _clear(evidence, str(settings.schema))
        except BaseException:
            await database.close()
            raise
        try:
            made = Stage(self, settings, database, evidence, MeasurementReader(database))
            await made.prepare()
            yield made
        finally:
            try:
                await evidence.drop_schemas()
            finally:
                await database.close()


@dataclass(frozen=True, slots=True)
class Stage:
    """See the module."""

    servers: Servers
    settings: Settings
    database: Database
    evidence: EvidenceReader
    reader: MeasurementReader

    async def prepare(self) -> None:
        """Have the tables."""
        container = Container(self.settings)
        try:
            await container.prepare()
        finally:
            await container.close()

    async def add_jobs(self, jobs: Sequence[ScheduleJob]) -> None:
        """Add jobs by the public interface, from a replica that never leads."""
        container = Container(self.settings.model_copy(update={"eligible": False}))
        try:
            await container.start(jobs)
        finally:
            await container.close()

    @asynccontextmanager
    async def leader(self) -> AsyncIterator[Replica]:
        """A replica process that leads; it ends with the block."""
        async with self._replica("leader") as replica:
            while (row := await self.evidence.leader()) is None or row.pid != replica.pid:
                await self._wait_for(replica, "leads")
            yield replica

    @asynccontextmanager
    async def followers(self, count: int) -> AsyncIterator[list[Replica]]:
        """Replica processes that take part; they end with the block."""
        async with AsyncExitStack() as stack:
            replicas = [await stack.enter_async_context(self._replica(f"follower-{n}")) for n in range(count)]
            for replica in replicas:
                while replica.pid not in {row.pid for row in await self.evidence.living()}:
                    await self._wait_for(replica, "takes part")
            yield replicas

    @asynccontextmanager
    async def _replica(self, name: str) -> AsyncIterator[Replica]:
        replica = start_replica(self.settings, self.servers.folder, name)
        try:
            yield replica
        finally:
            await replica.stop()

    async def _wait_for(self, replica: Replica, does: str) -> None:
        replica.require_alive()
        if replica.age_seconds > READY_WITHIN_SECONDS:
            raise SchedulerError(f"the measured replica {does} not within {READY_WITHIN_SECONDS:g} s")
        await asyncio.sleep(POLL_SECONDS)

    async def ended(self, due_by: datetime, leader: Replica, within_seconds: float) -> datetime:
        """Wait until all that was due by an instant has ended, durably; returns when, by the database's clock.

        Raises SchedulerError when time is up: the machine is too slow for this measure.
        """
        deadline = time.monotonic() + within_seconds
        while True:
            now, left = await self.reader.left(due_by)
            if now >= due_by and not left:
                return now
            leader.require_alive()
            if time.monotonic() > deadline:
                raise SchedulerError(
                    f"what was due at {due_by:%H:%M:%S} has not ended within {within_seconds:g} s: choose fewer fires"
                )
            await asyncio.sleep(POLL_SECONDS)


async def _clear(evidence: EvidenceReader, schema: str) -> None:
    """Drop what an earlier measure left behind, unless it is still going on."""
    if not await evidence.schema_exists():
        return
    if await evidence.living():
        raise InvalidSettingsError(f"another measurement is at work in the schema {schema!r}: wait until it has ended")
    await evidence.drop_schemas()


@contextmanager
def open_servers(tell: Tell, configured: Settings | None = None, *, folder: Path | None = None) -> Iterator[Servers]:
    """Servers for measures: embedded ones, ended with the block, or those that the settings name.

    Parameters: folder, where servers and logs are kept, also afterwards; by default they are removed at the end.
    """
    with nullcontext(folder) if folder is not None else tempfile.TemporaryDirectory(prefix="scheduler-bench-") as place:
        home = Path(place)
        if configured is not None and configured.database_url and configured.redis_url:
            urls = configured.database_url, configured.redis_url, configured.control_database_url
            yield Servers(*urls, None, home, tell)
            return
        with embedded.start(home / "servers") as ours:
            yield Servers(ours.database_url, ours.redis_url, None, ours, home, tell)

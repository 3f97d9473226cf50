"""The servers under a drill: embedded ones, which faults may hit, or a user's staging servers, which they may not.

On either the drill has a schema of its own. On staging servers nothing of it is left at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from redis.asyncio import Redis

from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.drill.postgres_pair import PostgresPair, several
from scheduler_core.drill.schedule import DrillPlan
from scheduler_core.settings import Settings, load_settings
from scheduler_core.storage import embedded as embedding
from scheduler_core.storage.embedded.injections import REPLICA_ROLE, PostgresInjector
from scheduler_core.storage.embedded.postgres import USER, PostgresServer
from scheduler_core.storage.embedded.row_log import RowLog
from scheduler_core.storage.embedded.server import HOST
from scheduler_core.storage.postgres.database import Database
from scheduler_core.storage.reads.evidence import EvidenceReader
from scheduler_core.storage.redis.answers import CLIENT_ERRORS, explain
from scheduler_core.storage.redis.leases import LeaseStore
from scheduler_core.storage.redis.url import connect

SCHEMA = "scheduler_drill"
DEFAULT_PORTS = {"postgres": 5432, "redis": 6379}
REDIS_TIMEOUT_SECONDS = 2.0
STALL_TIMEOUT_SECONDS = 10.0
_PLAIN_TLS = frozenset({"disable", "allow", "prefer"})


@dataclass(frozen=True, slots=True)
class Equipment:
    """What a plan's faults need beyond two servers."""

    standby: bool = False
    """A second place for Postgres, in which a standby can be made."""
    plain_role: bool = False
    """Replicas connect as a role that has a replica's rights and no others."""
    clock: bool = False
    """Replicas go by a clock of the database that can be moved."""


@dataclass(slots=True)
class Servers:
    """Postgres and Redis of one drill, and its schema there.

    `embedded` are ours to break; None on staging servers. `reader` is always with the primary of the moment.
    """

    settings: Settings
    database_url: str
    redis_url: str
    embedded: embedding.EmbeddedServers | None
    database: Database
    reader: EvidenceReader
    pair: PostgresPair | None = None
    replica_role: str | None = None
    """As whom replicas connect, where that is not whom `database_url` names."""

    @property
    def control_database_url(self) -> str | None:
        return self.settings.control_database_url

    @property
    def primary(self) -> PostgresServer:
        """The embedded Postgres that is the primary now."""
        if self.pair is not None:
            return self.pair.primary
        server = self.breakable().postgres
        assert server is not None
        return server

    @property
    def injector(self) -> PostgresInjector:
        """For what faults do to Postgres in SQL."""
        return PostgresInjector(self.database_url, SCHEMA)

    @property
    def row_log(self) -> RowLog:
        """What every transaction did, on the primary of the moment; where a trace is asked for."""
        return RowLog(self.database_url, SCHEMA)

    def addresses(self, server: str) -> tuple[tuple[str, int], ...]:
        """Host and port of `postgres` or `redis`; of Postgres both places where there are two."""
        if server == "postgres" and self.pair is not None:
            return tuple((HOST, port) for port in self.pair.ports)
        return (_address(self._url(server), server),)

    def replicas_url(self, server: str, ports: Sequence[int] = ()) -> str:
        """The URL that a replica is given; by way of relays on loopback at these ports, one for each address."""
        url = self._url(server)
        if server == "redis":
            return via(url, HOST, ports[0]) if ports else url
        if self.pair is not None:
            url = several(USER, self.pair.primary.password, tuple(ports) or self.pair.ports)
        elif ports:
            url = via(url, HOST, ports[0])
        return url if self.replica_role is None else url.replace(f"//{USER}:", f"//{self.replica_role}:", 1)

    def proxiable(self, server: str) -> bool:
        """Whether a relay can stand before it: no TLS that checks names, no socket file, no list of hosts."""
        return _is_plain(self._url(server)) and self.control_database_url is None

    def _url(self, server: str) -> str:
        return {"postgres": self.database_url, "redis": self.redis_url}[server]

    async def fail_over(self) -> datetime | None:
        """Kill the primary, promote its standby, and read from that from now on. Returns what `PostgresPair` does."""
        assert self.pair is not None
        until = await self.pair.fail_over()
        await self._read_from_primary()
        return until

    async def switch_over(self) -> None:
        """Promote the standby beside the primary, which becomes a reader, and read from it from now on."""
        assert self.pair is not None
        await self.pair.switch_over()
        await self._read_from_primary()

    async def _read_from_primary(self) -> None:
        former, self.database_url = self.database, self.primary.url
        self.database = _own_database(self.database_url)
        self.reader = EvidenceReader(self.database)
        await former.close()

    async def equip(self, equipment: Equipment, folder: Path) -> None:
        """Have what the plan's faults need. The schema is there. Raises SchedulerErrors."""
        if equipment.plain_role:
            await self.injector.make_replica_role(self.primary.password)
            self.replica_role = REPLICA_ROLE
        if equipment.clock:
            await self.injector.make_clock()
        if equipment.standby:
            self.pair = PostgresPair(self.breakable(), folder, SCHEMA)

    async def migrate(self) -> None:
        """Have the schema and its partitions."""
        await self._with_container(lambda container: container.prepare())

    async def store(self, jobs: Sequence[ScheduleJob]) -> None:
        """Have the jobs, before any replica starts: their first instants are near."""
        definitions = [job.definition("UTC") for job in jobs]
        await self._with_container(lambda container: container.get_operations().declare(definitions))

    async def _with_container(self, work: Callable[[Container], Awaitable[object]]) -> None:
        container = Container(self.settings)
        try:
            await work(container)
        finally:
            await container.close()

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        """A client of Redis's for one act. Its errors leave as ServerUnreachableError."""
        client = connect(self.redis_url, timeout_seconds=REDIS_TIMEOUT_SECONDS)
        try:
            yield client
        except CLIENT_ERRORS as error:
            raise explain(error, self.redis_url) from error
        finally:
            await client.aclose()

    async def lease_key(self) -> str:
        """The key in Redis of the lease of today's primary. Raises SchedulerErrors."""
        store = LeaseStore(self.redis_url, await self.reader.lease_name(), timeout_seconds=REDIS_TIMEOUT_SECONDS)
        try:
            return store.key
        finally:
            await store.close()

    def forget_redis_dump(self) -> None:
        """Let a Redis that is down come back empty."""
        server = self.breakable().redis
        assert server is not None
        for dump in server.data.glob("*.rdb"):
            dump.unlink(missing_ok=True)

    def breakable(self) -> embedding.EmbeddedServers:
        """The embedded servers. Faults that hit servers are refused long before on any others."""
        if self.embedded is None:
            raise InvalidSettingsError("these servers are not the drill's to break: leave out faults that hit servers")
        return self.embedded

    async def close(self, *, keep: bool) -> None:
        """Drop the drill's schemas on servers that are not ours, end those that are."""
        try:
            if self.embedded is None and not keep:
                await self.reader.drop_schemas()
        finally:
            await self.database.close()
            if self.pair is not None:
                await self.pair.close()
            if self.embedded is not None:
                await asyncio.to_thread(self.embedded.stop)


async def open_servers(plan: DrillPlan, folder: Path) -> Servers:
    """Start embedded servers in the folder, or look at the staging servers.

    Raises EmbeddedServerError, ServerUnreachableError; InvalidSettingsError if the settings name only one of the two
    servers, or a drill runs on them already.
    """
    running = None
    if plan.staging is None:
        running = await asyncio.to_thread(embedding.start, folder / "servers")
        if not running.owned:
            raise InvalidSettingsError(f"another process runs the servers in {folder}: choose another --data-dir")
        database_url, redis_url = running.database_url, running.redis_url
    else:
        if plan.staging.database_url is None or plan.staging.redis_url is None:
            raise InvalidSettingsError("a drill on staging servers needs both database_url and redis_url")
        database_url, redis_url = plan.staging.database_url, plan.staging.redis_url
    settings = load_settings(
        database_url=database_url,
        control_database_url=None if plan.staging is None else plan.staging.control_database_url,
        redis_url=redis_url,
        schema=SCHEMA,
        lease_ttl=plan.lease_ttl_seconds,
        stall_timeout=max(STALL_TIMEOUT_SECONDS, plan.lease_ttl_seconds),
        timezone="UTC",
        auto_migrate=True,
    )
    database = _own_database(database_url)
    servers = Servers(settings, database_url, redis_url, running, database, EvidenceReader(database))
    try:
        if running is not None:
            await servers.injector.undo_all()
        await _clear(servers)
    except BaseException:
        await servers.close(keep=True)
        raise
    return servers


def _own_database(url: str) -> Database:
    """The drill's own connections: faults that change the server's defaults change nothing of theirs."""
    return Database(url, SCHEMA, pool_size=4, settings={"search_path": "pg_catalog"})


async def _clear(servers: Servers) -> None:
    """Drop what an earlier drill left behind, unless it is still going on."""
    if not await servers.reader.schema_exists():
        return
    if await servers.reader.living():
        raise InvalidSettingsError(
            f"replicas of another drill are at work in the schema {SCHEMA!r}: wait until it has ended"
        )
    await servers.reader.drop_schemas()


def via(url: str, host: str, port: int) -> str:
    """The same URL by way of another address."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}:{port}" if user else f"{host}:{port}"))


def _address(url: str, server: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or DEFAULT_PORTS[server]


def _is_plain(url: str) -> bool:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    tls = (query.get("sslmode") or query.get("ssl") or ["prefer"])[-1]
    known = parts.scheme.partition("+")[0] in {"postgresql", "postgres", "redis"} and "sentinel" not in parts.scheme
    return known and bool(parts.hostname) and "," not in parts.netloc and "host" not in query and tls in _PLAIN_TLS

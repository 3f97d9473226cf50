"""The servers under a drill: embedded ones, which faults may hit, or a user's staging servers, which they may not.

On either the drill has a schema of its own. On staging servers nothing of it is left at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.domain.job import ScheduleJob
from scheduler_core.drill.schedule import DrillPlan
from scheduler_core.settings import Settings, load_settings
from storage import embedded as embedding
from storage.database import Database
from storage.evidence import EvidenceReader
from storage.redis_url import connect

SCHEMA = "scheduler_drill"
DEFAULT_PORTS = {"postgres": 5432, "redis": 6379}
FLUSH_TIMEOUT_SECONDS = 2.0
STALL_TIMEOUT_SECONDS = 10.0
_PLAIN_TLS = frozenset({"disable", "allow", "prefer"})


@dataclass(slots=True)
class Servers:
    """Postgres and Redis of one drill, and its schema there.

    `embedded` are ours to break; None on staging servers.
    """

    settings: Settings
    database_url: str
    redis_url: str
    embedded: embedding.EmbeddedServers | None
    database: Database
    reader: EvidenceReader

    @property
    def control_database_url(self) -> str | None:
        return self.settings.control_database_url

    def address(self, server: str) -> tuple[str, int]:
        """Host and port of `postgres` or `redis`."""
        return _address(self._url(server), server)

    def proxiable(self, server: str) -> bool:
        """Whether a relay can stand before it: no TLS that checks names, no socket file, no list of hosts."""
        return _is_plain(self._url(server)) and self.control_database_url is None

    def _url(self, server: str) -> str:
        return {"postgres": self.database_url, "redis": self.redis_url}[server]

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

    async def flush_redis(self) -> None:
        """FLUSHALL: Redis forgets everything."""
        client = connect(self.redis_url, timeout_seconds=FLUSH_TIMEOUT_SECONDS)
        try:
            await client.flushall()
        finally:
            await client.aclose()

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
    database = Database(database_url, SCHEMA, pool_size=4)
    servers = Servers(settings, database_url, redis_url, running, database, EvidenceReader(database))
    try:
        await _clear(servers)
    except BaseException:
        await servers.close(keep=True)
        raise
    return servers


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

"""Two places for the drill's Postgres: one holds the primary, in the other a standby is made when a fault asks for one.

Both places keep their ports, so that replicas can name them in one URL. A primary that was killed leaves its place to
the standby that is made next.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.drill.proxy import LinkState, Mode, Proxy
from scheduler_core.drill.proxy_thread import ProxyThread
from scheduler_core.storage import embedded as embedding
from scheduler_core.storage.embedded.injections import PostgresInjector
from scheduler_core.storage.embedded.postgres import DATABASE, PostgresServer
from scheduler_core.storage.embedded.server import HOST, free_port
from scheduler_core.storage.embedded.standby import StandbyServer, kill_whole

STREAM_SECONDS = 30.0
POLL_SECONDS = 0.02


DEAF = LinkState(Mode.PASS, Mode.BLACKHOLE)


@dataclass(frozen=True, slots=True)
class Link:
    """The way from a primary to its standby."""

    proxies: ProxyThread
    relay: Proxy


class PostgresPair:
    """The drill's Postgres: a primary, and a standby where a fault needs one.

    Parameters: servers, the embedded ones; folder, where standbys live; schema, the drill's.
    """

    def __init__(self, servers: embedding.EmbeddedServers, folder: Path, schema: str) -> None:
        assert servers.postgres is not None
        self.primary: PostgresServer = servers.postgres
        self._standby: StandbyServer | None = None
        self._former: PostgresServer | None = None
        self._link: Link | None = None
        self._folder = folder
        self._schema = schema
        self._numbers = count(1)
        self._lock_fd = servers.lock_fd
        self._free_port = free_port()

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of both places, in an order that never changes."""
        first, second = sorted((self.primary.port, self._free_port))
        return first, second

    async def make_standby(self, proxies: ProxyThread, *, synchronous: bool) -> None:
        """A standby of today's primary that streams by way of a relay; without it no commit is acknowledged if
        `synchronous`.

        Raises EmbeddedServerError; SchedulerError if it does not come to stream.
        """
        await self.drop_standby()
        relay = await proxies.open(HOST, self.primary.port)
        self._link = Link(proxies, relay)
        standby = StandbyServer(
            self._folder / f"standby-{next(self._numbers)}", port=self._free_port, lock_fd=self._lock_fd
        )
        self._standby = standby
        await asyncio.to_thread(standby.copy, self.primary, source_port=relay.port)
        await asyncio.to_thread(standby.start)
        injector = PostgresInjector(self.primary.url, self._schema)
        if synchronous:
            await injector.set_default("synchronous_standby_names", "*")
        try:
            async with asyncio.timeout(STREAM_SECONDS):
                while not await injector.is_streaming(synchronous=synchronous):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise SchedulerError(f"the standby does not stream within {STREAM_SECONDS:g} s") from None

    async def drop_standby(self) -> None:
        """End the standby, if there is one, and what waits for it."""
        standby, self._standby = self._standby, None
        if standby is None:
            return
        await PostgresInjector(self.primary.url, self._schema).reset_default("synchronous_standby_names")
        await asyncio.to_thread(standby.stop, "immediate")
        shutil.rmtree(standby.folder, ignore_errors=True)
        await self._drop_link()

    async def deafen(self) -> None:
        """From now on the standby hears nothing of its primary."""
        assert self._link is not None
        await self._link.proxies.set_link_state(self._link.relay, DEAF)

    async def fail_over(self) -> datetime | None:
        """Kill the primary with all its processes, and promote the standby.

        Returns when the last transaction was committed that the new primary has; None if it has none since its start.
        Raises SchedulerError if it can't be promoted.
        """
        standby, old = self._standby, self.primary
        assert standby is not None, "there is no standby: make_standby comes first"
        await asyncio.to_thread(kill_whole, old)
        until = await PostgresInjector(standby.url, self._schema).promote()
        await self._seat(standby)
        _leave_place(old)
        return until

    async def switch_over(self) -> None:
        """Promote the standby once it has every commit. The former primary is a reader from then on: it keeps the
        sessions that it has, and answers no new one, as where an endpoint has moved. `end_former` ends it.

        Raises SchedulerError if the standby can't be promoted.
        """
        standby, old = self._standby, self.primary
        assert standby is not None, "there is no standby: make_standby comes first"
        promoting, leaving = (PostgresInjector(server.url, self._schema) for server in (standby, old))
        await leaving.set_default("default_transaction_read_only", "on")
        try:
            async with asyncio.timeout(STREAM_SECONDS):
                while not await leaving.is_replayed_by(promoting):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise SchedulerError(f"the standby has not every commit within {STREAM_SECONDS:g} s") from None
        old.signal(signal.SIGSTOP)
        self._former = old
        await promoting.promote()
        await self._seat(standby)

    async def end_former(self) -> None:
        """End the former primary of a `switch_over`, with the sessions that it has."""
        former, self._former = self._former, None
        if former is None:
            return
        await asyncio.to_thread(kill_whole, former)
        _leave_place(former)

    async def _seat(self, standby: StandbyServer) -> None:
        """It is the primary from now on; the other's place is free for the next standby."""
        self.primary, self._standby, self._free_port = standby, None, self.primary.port
        await self._drop_link()

    async def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.proxies.discard(link.relay)

    async def close(self) -> None:
        """End both, whichever runs: the first primary is the embedded servers' own, and ends with them as well."""
        await self.end_former()
        for server in (self._standby, self.primary):
            if server is not None:
                await asyncio.to_thread(server.stop, "immediate" if server is self._standby else "fast")


def _leave_place(ended: PostgresServer) -> None:
    """The first primary's folder is the embedded servers' own."""
    if isinstance(ended, StandbyServer):
        shutil.rmtree(ended.folder, ignore_errors=True)


def several(user: str, password: str, ports: tuple[int, ...]) -> str:
    """The URL of whichever of the servers at these ports is the primary."""
    hosts = ",".join(f"{HOST}:{port}" for port in ports)
    return f"postgresql://{user}:{password}@{hosts}/{DATABASE}?target_session_attrs=primary"

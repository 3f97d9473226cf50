"""A TCP relay on loopback, before Postgres or Redis, whose network can be made to fail while it runs.

    pass        what a network does
    reset       every connection is cut with RST; new ones are accepted and cut likewise
    black hole  bytes vanish without a word: connections stay open, new ones are accepted; the end of a connection
                vanishes too, so that a server goes on believing in a client that is gone
    delay       each chunk is held back for some milliseconds

Each direction has a mode of its own. A connection that lost bytes can't be healed: once its direction passes again
it is cut, as by a router that has forgotten it; a new one works.

What is in flight is bounded: one chunk per direction, and the sockets' own buffers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler_core.runtime.task_ends import end_tasks

CHUNK_BYTES = 65_536
CONNECT_TIMEOUT_SECONDS = 5.0
LISTEN_HOST = "127.0.0.1"
_CUT = struct.pack("ii", 1, 0)


class Mode(StrEnum):
    """What one direction does with bytes."""

    PASS = "pass"  # noqa: S105 - no password
    RESET = "reset"
    BLACKHOLE = "blackhole"
    DELAY = "delay"


@dataclass(frozen=True, slots=True)
class LinkState:
    """Both directions: `up` is to the server, `down` to the client. `delay_ms` counts for those that delay."""

    up: Mode = Mode.PASS
    down: Mode = Mode.PASS
    delay_ms: int = 0

    @property
    def resets(self) -> bool:
        return Mode.RESET in {self.up, self.down}


CALM = LinkState()


@dataclass(eq=False, slots=True)
class Connection:
    """One client's connection, and ours to the server (None as long as a black hole hides the server)."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    lost: set[str] = field(default_factory=set)
    """Directions (`up`, `down`) that swallowed something."""

    def cut(self) -> None:
        """End both sides with RST, at once and without sending what is buffered."""
        for writer in (self.client, self.server):
            if writer is None:
                continue
            socket_ = writer.get_extra_info("socket")
            if socket_ is not None and socket_.fileno() >= 0:
                with contextlib.suppress(OSError):
                    socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CUT)
            writer.transport.abort()


class Proxy:
    """One relay. Lives in one event loop; `ProxyThread` gives it one of its own.

    Parameters: host and port of the server behind it.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._server_port = port
        self._weather = CALM
        self._changed = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self) -> None:
        """Listen on a free port of loopback."""
        self._listener = await asyncio.start_server(self._accept, LISTEN_HOST, 0, limit=CHUNK_BYTES)
        self.port = int(self._listener.sockets[0].getsockname()[1])

    @property
    def link_state(self) -> LinkState:
        return self._weather

    @property
    def upstream_ports(self) -> tuple[int, ...]:
        """Our own ports on the connections to the server: by them the server knows its clients."""
        servers = [connection.server for connection in self._connections if connection.server is not None]
        return tuple(int(server.get_extra_info("sockname")[1]) for server in servers)

    def set_link_state(self, link_state: LinkState) -> None:
        """From now on. Connections that can't go on under it are cut."""
        self._weather = link_state
        for connection in list(self._connections):
            healed = any(getattr(link_state, way) is not Mode.BLACKHOLE for way in connection.lost)
            if link_state.resets or healed:
                connection.cut()
        self._changed.set()
        self._changed = asyncio.Event()

    async def close(self) -> None:
        """Listen no more, cut every connection, wait for every task."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.cut()
        await end_tasks(*self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="drill proxy connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(writer)
        self._connections.add(connection)
        try:
            if self._weather.up is Mode.BLACKHOLE:
                # Not even the first packet arrives.
                connection.lost.add("up")
                await self._swallow(reader)
            elif not self._weather.resets:
                await self._relay(connection, reader)
        except (OSError, TimeoutError):
            pass  # an end of the connection ended it: the other end is told below
        finally:
            connection.cut()
            self._connections.discard(connection)

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(CHUNK_BYTES):
            pass

    async def _relay(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            answers, connection.server = await asyncio.open_connection(self._host, self._server_port, limit=CHUNK_BYTES)
        up = asyncio.create_task(self._pump(connection, "up", reader, connection.server))
        down = asyncio.create_task(self._pump(connection, "down", answers, connection.client))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await end_tasks(up, down)

    async def _pump(
        self, connection: Connection, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry bytes one way until that way ends."""
        while True:
            chunk = await reader.read(CHUNK_BYTES)
            mode = getattr(self._weather, way)
            if mode is Mode.DELAY:
                await asyncio.sleep(self._weather.delay_ms / 1000)
                mode = getattr(self._weather, way)
            if mode is Mode.BLACKHOLE:
                connection.lost.add(way)
                if chunk:
                    continue
                await self._until_it_passes(way)
            if not chunk:
                if not writer.is_closing():
                    writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    async def _until_it_passes(self, way: str) -> None:
        """An end that nobody hears of, as long as the black hole lasts."""
        while getattr(self._weather, way) is Mode.BLACKHOLE:
            await self._changed.wait()
        raise ConnectionResetError("the connection was lost in a black hole")

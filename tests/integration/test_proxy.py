"""The drill's relay: what it does to bytes, in each mode and direction, before a real server of each kind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from scheduler_core.drill.proxy import CALM, LISTEN_HOST, LinkState, Mode, Proxy
from scheduler_core.drill.proxy_thread import ProxyThread
from scheduler_core.drill.servers import via

HOLE = Mode.BLACKHOLE
SOON_SECONDS = 0.3
DELAY_MS = 150


class Echo:
    """A server that says what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self.clients = 0
        self.ended = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, LISTEN_HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                self.heard += chunk
                writer.write(chunk)
                await writer.drain()
        self.ended += 1
        writer.close()

    async def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    server = Echo()
    await server.open()
    yield server
    await server.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    relay = Proxy(LISTEN_HOST, echo.port)
    await relay.open()
    yield relay
    await relay.close()
    assert not relay._tasks
    assert not relay._connections


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, words: bytes) -> None:
        self.writer.write(words)
        await self.writer.drain()

    async def hears(self, words: bytes, within_seconds: float = 5.0) -> None:
        async with asyncio.timeout(within_seconds):
            assert await self.reader.readexactly(len(words)) == words

    async def hears_nothing(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON_SECONDS):
                await self.reader.read(1)

    async def is_reset(self) -> None:
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(5):
                await self.reader.readexactly(1)


@contextlib.asynccontextmanager
async def client_of(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(LISTEN_HOST, proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def until(is_so: object, within_seconds: float = 5.0) -> None:
    deadline = time.monotonic() + within_seconds
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_it_passes_everything_on_in_calm_weather(proxy: Proxy, echo: Echo) -> None:
    words = bytes(range(256)) * 8_192
    async with client_of(proxy) as client:
        talking = asyncio.create_task(client.say(words))
        await client.hears(words, within_seconds=20)
        await talking
        assert len(proxy.upstream_ports) == 1
        client.writer.write_eof()
        assert await client.reader.read() == b"", "the end travels both ways"
    await until(lambda: echo.ended == 1)


@pytest.mark.parametrize("link_state", [LinkState(up=Mode.RESET), LinkState(down=Mode.RESET)])
async def test_reset_cuts_connections_and_refuses_new_ones(proxy: Proxy, echo: Echo, link_state: LinkState) -> None:
    async with client_of(proxy) as client:
        await client.say(b"before")
        await client.hears(b"before")
        proxy.set_link_state(link_state)
        await client.is_reset()
    await until(lambda: echo.ended == 1)
    async with client_of(proxy) as refused:
        await refused.is_reset()
    assert echo.clients == 1
    proxy.set_link_state(CALM)
    async with client_of(proxy) as client:
        await client.say(b"after")
        await client.hears(b"after")


async def test_a_black_hole_to_the_server(proxy: Proxy, echo: Echo) -> None:
    """Nothing arrives there, not even the end of a connection; what is lost stays lost."""
    async with client_of(proxy) as old, client_of(proxy) as leaving:
        for client in (old, leaving):
            await client.say(b"before")
            await client.hears(b"before")
        proxy.set_link_state(LinkState(up=HOLE))
        await old.say(b"lost")
        leaving.writer.close()
        await old.hears_nothing()
        async with client_of(proxy) as new:
            await new.say(b"lost too")
            await new.hears_nothing()
            assert echo.heard == b"beforebefore"
            assert (echo.clients, echo.ended) == (2, 0), "the server believes in a client that is gone"
            proxy.set_link_state(CALM)
            await new.is_reset()
        await old.is_reset()
        await until(lambda: echo.ended == 2)
    async with client_of(proxy) as client:
        await client.say(b"after")
        await client.hears(b"after")


async def test_a_black_hole_to_the_client(proxy: Proxy, echo: Echo) -> None:
    """What is said arrives; the answers don't."""
    async with client_of(proxy) as old:
        await old.say(b"before")
        await old.hears(b"before")
        proxy.set_link_state(LinkState(down=HOLE))
        await old.say(b" heard")
        await old.hears_nothing()
        async with client_of(proxy) as new:
            await new.say(b" also heard")
            await new.hears_nothing()
        assert echo.heard == b"before heard also heard"
        await until(lambda: echo.ended == 1)  # the end of the new one was passed on
        proxy.set_link_state(CALM)
        await old.is_reset()


async def test_a_connection_that_lost_nothing_survives_a_black_hole(proxy: Proxy) -> None:
    async with client_of(proxy) as client:
        await client.say(b"before")
        await client.hears(b"before")
        proxy.set_link_state(LinkState(HOLE, HOLE))
        await asyncio.sleep(0.05)
        proxy.set_link_state(CALM)
        await client.say(b"after")
        await client.hears(b"after")


@pytest.mark.parametrize(
    "link_state", [LinkState(up=Mode.DELAY, delay_ms=DELAY_MS), LinkState(down=Mode.DELAY, delay_ms=DELAY_MS)]
)
async def test_delay_holds_one_direction_back(proxy: Proxy, link_state: LinkState) -> None:
    async with client_of(proxy) as client:
        await client.say(b"quick")
        await client.hears(b"quick")
        proxy.set_link_state(link_state)
        said_at = time.monotonic()
        await client.say(b"slow")
        await client.hears(b"slow")
        assert DELAY_MS <= (time.monotonic() - said_at) * 1000 < 4 * DELAY_MS
        proxy.set_link_state(CALM)
        said_at = time.monotonic()
        await client.say(b"quick")
        await client.hears(b"quick")
        assert (time.monotonic() - said_at) * 1000 < DELAY_MS


async def test_closing_ends_connections_in_every_weather(echo: Echo) -> None:
    for link_state in (CALM, LinkState(HOLE, HOLE), LinkState(Mode.DELAY, Mode.DELAY, 60_000)):
        relay = Proxy(LISTEN_HOST, echo.port)
        await relay.open()
        async with client_of(relay) as client:
            relay.set_link_state(link_state)
            await client.say(b"hello")
            await asyncio.sleep(0.02)
            if link_state is CALM:
                await client.hears(b"hello")
            async with asyncio.timeout(2):
                await relay.close()
            await client.is_reset()
        assert not relay._tasks


async def test_before_the_real_redis(redis_url: str) -> None:
    """In a thread of its own, as the drill uses it; the client gives up in its time, and comes back."""
    parts = urlsplit(redis_url)
    proxies = ProxyThread()
    proxy = await proxies.open(parts.hostname or "", parts.port or 0)
    client = Redis.from_url(via(redis_url, LISTEN_HOST, proxy.port), socket_timeout=0.3, socket_connect_timeout=0.3)
    try:
        assert await client.ping()
        assert len(await proxies.upstream_ports(proxy)) == 1
        for link_state in (
            LinkState(HOLE, HOLE),
            LinkState(up=HOLE),
            LinkState(down=HOLE),
            LinkState(Mode.RESET, Mode.RESET),
        ):
            await proxies.set_link_state(proxy, link_state)
            for _ in range(2):
                with pytest.raises((RedisError, OSError)):
                    await client.ping()
            await proxies.set_link_state(proxy, CALM)
            assert await client.ping()
        await proxies.set_link_state(proxy, LinkState(Mode.DELAY, Mode.DELAY, 50))
        asked_at = time.monotonic()
        assert await client.ping()
        assert 0.1 <= time.monotonic() - asked_at < 0.3
    finally:
        await client.aclose()
        await proxies.close()

"""Clients that are slow on purpose, on real sockets: they are let go, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from scheduler_core.domain.access.access import Scope
from scheduler_core.web import server
from scheduler_core.web.access.limits import RequestLimits
from scheduler_core.web.server import listen, serve, url_of

PATIENCE_SECONDS = 0.3
MEGABYTES = 64


@pytest.fixture
async def url(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The application, served by an impatient server."""
    monkeypatch.setattr(server, "HEAD_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(server, "STALLED_SECONDS", PATIENCE_SECONDS)

    app.state.begun, app.state.ended = asyncio.Event(), asyncio.Event()

    async def much() -> AsyncIterator[bytes]:
        app.state.begun.set()
        try:
            for _ in range(MEGABYTES):
                yield b"x" * 1024 * 1024
        finally:
            app.state.ended.set()

    @app.get("/static/large")
    async def large() -> StreamingResponse:
        return StreamingResponse(much())

    # Before the dashboard's own files, which would say that there is no such one.
    app.router.routes.insert(0, app.router.routes.pop())
    stop = asyncio.Event()
    listening = listen("127.0.0.1", 0)
    where = url_of(listening)
    serving = asyncio.create_task(serve(RequestLimits(app, seconds=PATIENCE_SECONDS), listening, stop))
    yield where
    stop.set()
    await serving


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port), limit=1024)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /api", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /"],
    ids=["nothing", "half a line", "half a head", "half a second request"],
)
async def test_a_head_that_does_not_come_ends_the_connection(url: str, sent: bytes) -> None:
    reader, writer = await connect(url)
    writer.write(sent)
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1024):
                pass
    writer.close()


async def test_a_head_that_drips_ends_the_connection(url: str) -> None:
    """Each byte in time, and the whole never."""
    reader, writer = await connect(url)
    ended = asyncio.create_task(reader.read(1024))
    writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
    async with asyncio.timeout(30):
        while not ended.done():
            with contextlib.suppress(ConnectionError):
                writer.write(b"x")
                await writer.drain()
            await asyncio.wait({ended}, timeout=PATIENCE_SECONDS / 10)
    with contextlib.suppress(ConnectionResetError):
        assert ended.result() == b""
    writer.close()


async def test_a_body_that_does_not_come_is_answered(url: str, make_token) -> None:
    secret = await make_token(Scope.OPERATOR)
    reader, writer = await connect(url)
    head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
    async with asyncio.timeout(30):
        answer = await reader.readline()
    assert b" 408 " in answer
    writer.close()


async def test_whoever_names_nobody_is_answered_before_their_body(url: str) -> None:
    reader, writer = await connect(url)
    writer.write(b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    async with asyncio.timeout(30):
        answer = await reader.readline()
    assert b" 401 " in answer
    writer.close()


async def test_an_answer_that_nobody_reads_is_dropped(url: str, app: FastAPI) -> None:
    _, writer = await connect(url)
    transport = writer.transport
    transport.pause_reading()
    writer.write(b"GET /static/large HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(30):
        await app.state.begun.wait()
        await app.state.ended.wait()
    transport.abort()


async def test_others_are_served_while_many_are_slow(url: str, make_token) -> None:
    """A hundred half-open requests keep nobody from an answer."""
    slow = [await connect(url) for _ in range(100)]
    for _, writer in slow:
        writer.write(b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\n")
    headers = {"Authorization": f"Bearer {await make_token(Scope.VIEWER)}"}
    async with httpx.AsyncClient(timeout=30) as client:
        assert (await client.get(f"{url}/api/v1/me", headers=headers)).status_code == 200
    for _, writer in slow:
        writer.transport.abort()

"""Serving: uvicorn on a socket of ours, in a thread beside a replica, or as all that a process does.

In a replica the server has a thread, an event loop and connections of its own: what a page waits for, no fire waits
for. A port that is taken stops no replica from scheduling: it says so, and tries again until the port is free.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from scheduler_core.container import Container
from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.runtime.loop_thread import LoopThread
from scheduler_core.web.app import create_app

logger = logging.getLogger("scheduler_core.web")

MOST_CONNECTIONS = 1_000
HEAD_SECONDS = 10.0
"""How long a connection may take to say what it wants."""
STALLED_SECONDS = 30.0
"""How long a client may leave an answer unread."""
KEEP_ALIVE_SECONDS = 15
DRAIN_SECONDS = 2
TRY_AGAIN_SECONDS = 1.0
BACKLOG = 256

API_SETTINGS = ("api_host", "api_port")


def listen(host: str, port: int, *, settings: tuple[str, str] = API_SETTINGS) -> socket.socket:
    """A socket that listens; port 0 is any that is free.

    Parameters: settings, where host and port were given, for the error. Raises InvalidSettingsError.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidSettingsError(
            f"nothing can be served on {settings[0]} {host!r}, {settings[1]} {port} ({reason}): "
            f"give another, or end what uses it"
        ) from None
    listening.setblocking(False)
    return listening


def url_of(listening: socket.socket) -> str:
    """Where it is to be found, on this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - told apart, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class HurriedProtocol(H11Protocol):
    """HTTP/1.1 for clients that may be slow on purpose: a head that does not come, and an answer that nobody reads,
    end the connection. How slowly a body may come, `access.limits` says.
    """

    _patience: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()
        elif self._patience is None:
            self._await_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _Server(uvicorn.Server):
    """Signals are the business of whoever started us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: ASGIApp, listening: socket.socket, stop: asyncio.Event, *, proxies: tuple[str, ...] = ()) -> None:
    """Serve an application on a socket until `stop` is set; then answers under way have `DRAIN_SECONDS` to end.

    Parameters: proxies, addresses whose X-Forwarded-… headers are believed.
    """
    config = uvicorn.Config(
        app,
        http=HurriedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        reset_contextvars=True,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listening]), name="serve")
    asked = asyncio.create_task(stop.wait(), name="stop serving")
    try:
        await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        asked.cancel()
        listening.close()


class ServerThread:
    """A server beside a replica.

    Parameters: container, the replica's; host and port, where to listen; make_app, what to serve, on a container of
    the thread's own.
    """

    def __init__(
        self,
        container: Container,
        host: str,
        port: int,
        *,
        make_app: Callable[[Container], Any] = create_app,
        name: str = "scheduler serves",
        settings: tuple[str, str] = API_SETTINGS,
    ) -> None:
        self._container = container.beside()
        self._host, self._port, self._settings = host, port, settings
        self._make_app = make_app
        self._stop = asyncio.Event()
        self._thread = LoopThread(self._serve, name=name, logger=logger, ended=self._ended)

    def start(self) -> None:
        """Begin to listen, now or as soon as the port is free."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Stop listening; `join` waits for it."""
        self._thread.post(self._stop.set)

    async def join(self) -> None:
        """Wait until the thread has closed what it opened; it is bounded."""
        await self._thread.join(DRAIN_SECONDS + 5.0)

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            # The replica schedules on; who looks for the API finds this.
            message = "serving on %s:%s ended; the replica goes on without it"
            logger.error(message, self._host, self._port, exc_info=error)

    async def _serve(self) -> None:
        try:
            listening = await self._listen()
            if listening is not None:
                logger.info("serving %s", url_of(listening))
                proxies = self._container.settings.api_trusted_proxies
                await serve(self._make_app(self._container), listening, self._stop, proxies=proxies)
        finally:
            await self._container.close()

    async def _listen(self) -> socket.socket | None:
        """The socket, as soon as it can be had; None if the replica stops before."""
        told = False
        while not self._stop.is_set():
            try:
                return listen(self._host, self._port, settings=self._settings)
            except InvalidSettingsError as error:
                if not told:
                    logger.warning("%s; trying again every %g s", error, TRY_AGAIN_SECONDS)
                told = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TRY_AGAIN_SECONDS):
                    await self._stop.wait()
        return None


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that a parent process left open for us. Raises InvalidSettingsError."""
    try:
        os.fstat(descriptor)
        listening = socket.socket(fileno=descriptor)
        listening.getsockname()
    except OSError as error:
        raise InvalidSettingsError(f"--fd {descriptor} is no listening socket ({error.strerror})") from None
    listening.setblocking(False)
    return listening

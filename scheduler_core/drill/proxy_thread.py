"""Proxies in a thread with an event loop of its own: whatever the drill is doing, bytes flow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from scheduler_core.domain.errors import SchedulerError, ServerUnreachableError
from scheduler_core.drill.proxy import LinkState, Proxy
from scheduler_core.runtime.loop_thread import LoopThread

logger = logging.getLogger("scheduler_core.drill")

CALL_TIMEOUT_SECONDS = 10.0

T = TypeVar("T")


class ProxyThread:
    """The thread, and the proxies in it. Every method is called from the drill's own loop."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()
        self._thread = LoopThread(self._live, name="drill-proxies", logger=logger, ended=_ended, make_loop=_new_loop)
        self._thread.start()
        self._proxies: list[Proxy] = []

    async def open(self, host: str, port: int) -> Proxy:
        """A new proxy before a server. Raises ServerUnreachableError."""

        async def make() -> Proxy:
            proxy = Proxy(host, port)
            await proxy.open()
            return proxy

        proxy = await self._call(make())
        self._proxies.append(proxy)
        return proxy

    async def set_link_state(self, proxy: Proxy, link_state: LinkState) -> None:
        """Change a proxy's link_state; in force on return."""

        async def change() -> None:
            proxy.set_link_state(link_state)

        await self._call(change())

    async def upstream_ports(self, proxy: Proxy) -> tuple[int, ...]:
        """Our own ports on a proxy's connections to its server."""

        async def ask() -> tuple[int, ...]:
            return proxy.upstream_ports

        return await self._call(ask())

    async def discard(self, proxy: Proxy) -> None:
        """Close one of them: its replica is gone."""
        if proxy in self._proxies:
            self._proxies.remove(proxy)
            await self._call(proxy.close())

    async def close(self) -> None:
        """Close all of them and end the thread."""
        for proxy in list(self._proxies):
            await self.discard(proxy)
        self._thread.post(self._closed.set)
        await self._thread.join(CALL_TIMEOUT_SECONDS)

    async def _live(self) -> None:
        await self._closed.wait()

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                return await asyncio.wrap_future(self._thread.submit(work))
        except TimeoutError:
            raise SchedulerError("the drill's proxies do not answer: this machine is overloaded") from None
        except OSError as error:
            raise ServerUnreachableError(f"a drill's proxy can't listen on loopback: {error}") from error


def _ended(error: BaseException | None) -> None:
    if error is not None:
        logger.error("the drill's proxies ended: %r", error)


def _new_loop() -> asyncio.AbstractEventLoop:
    """A fast one if there is one: every byte of every replica goes through it."""
    make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop

        make = uvloop.new_event_loop
    return make()

"""The stream that keeps an open page fresh: server-sent events, each the whole live part of one view."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from scheduler_core.domain.access.access import Scope
from scheduler_core.runtime.task_ends import end_tasks
from scheduler_core.web.access import Caller, require
from scheduler_core.web.pages.hub import Hub, Key, Read, Watched, hub_of
from scheduler_core.web.pages.screens import VIEWS, fragment
from scheduler_core.web.problem import Problem
from scheduler_core.web.state import state_of

router = APIRouter()

STREAM_SECONDS = 30.0
"""A stream ends by itself and the page asks for the next one: a token that was revoked sees no more than this."""
QUIET_SECONDS = 10.0
"""After so long without news a comment is sent, so that nobody on the way takes the connection for dead."""
SEND_TIMEOUT_SECONDS = 10.0
"""Who reads nothing for so long is let go."""


@router.get("/stream")
async def stream(request: Request, view: str, caller: Annotated[Caller, Depends(require(Scope.VIEWER))]) -> Response:
    """The events of one view, with the parameters of its page."""
    found = VIEWS.get(view)
    if found is None or not found.is_live:
        raise Problem(404, "no-such-view", f"there is no live view {view[:80]!r}")
    values, root = found.pick(request.query_params), request.scope.get("root_path", "")
    may_act = caller.may(Scope.OPERATOR)
    hub, container = hub_of(request), state_of(request).container

    async def read() -> str:
        return await fragment(found, values, container=container, activity=hub.activity, root=root, may_act=may_act)

    return EventStream(hub, (found.name, root, str(may_act), *values.values()), read)


class EventStream(Response):
    """An answer that goes on until its time is over, the client leaves, or the client stops reading."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, key: Key, read: Read) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._hub, self._key, self._read = hub, key, read

    def init_headers(self, headers: object = None) -> None:
        super().init_headers(headers)  # type: ignore[arg-type]
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        async with self._hub.watch(self._key, self._read) as view:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            # The first bytes at once: the browser then knows that it is connected.
            await send({"type": "http.response.body", "body": b": connected\n\n", "more_body": True})
            leaving = asyncio.create_task(_left(receive), name="pages: client leaves")
            try:
                await self._send_news(view, send, leaving)
            except TimeoutError:
                return
            finally:
                await end_tasks(leaving)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_news(self, view: Watched, send: Send, leaving: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        ends_at, serial = loop.time() + STREAM_SECONDS, 0
        while (left := ends_at - loop.time()) > 0:
            news = asyncio.ensure_future(view.after(serial))
            done, _ = await asyncio.wait(
                (news, leaving), timeout=min(QUIET_SECONDS, left), return_when=asyncio.FIRST_COMPLETED
            )
            if news not in done:
                await end_tasks(news)
            if leaving in done:
                return
            body = b": nothing new\n\n"
            if news in done:
                serial, body = news.result()
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

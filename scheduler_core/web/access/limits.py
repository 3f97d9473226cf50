"""How large a request may be, and how slowly it may come: whoever sends more, or slower, is told so and let go."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler_core.web.problem import Problem, answer

MOST_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 20.0


class RequestLimits:
    """Bounds the body in bytes and in seconds; an application that streams its answer is not bounded by it."""

    def __init__(self, app: ASGIApp, *, most_bytes: int = MOST_BODY_BYTES, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check_length(scope)
        except Problem as problem:
            await answer(problem)(scope, receive, send)
            return
        received, complete = 0, False
        deadline = asyncio.get_running_loop().time() + self._seconds

        async def receive_within_limits() -> Message:
            nonlocal received, complete
            # What comes after the body is the end of the connection, which a stream may wait for as long as it lasts.
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Problem(
                    408, "slow-request", f"the body did not arrive within {self._seconds:g} s: send it faster"
                ) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > self._most_bytes:
                    raise self._too_large()
            return message

        await self._app(scope, receive_within_limits, send)

    def _check_length(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value[:20]) > self._most_bytes):
                raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(413, "large-request", f"a request's body may hold at most {self._most_bytes:,} bytes: send less")

"""The gate: closed by default. Whoever names nobody gets no further, whatever stands behind, known address or not."""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.web.access.callers import CALLER, find_caller, not_signed_in
from scheduler_core.web.problem import Problem, respond

PUBLIC = ("/openapi.json", "/livez", "/readyz", "/sign-in")
PUBLIC_FOLDERS = ("/static/",)
"""What anybody may see: it holds no data."""


class AuthenticationMiddleware:
    """Finds the caller before the body is read and before a route is looked for; `require` then looks at the scope."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            if path not in PUBLIC and not path.startswith(PUBLIC_FOLDERS):
                caller = await find_caller(request)
                if caller is None:
                    raise not_signed_in()
                scope[CALLER] = caller
        except (Problem, SchedulerError) as error:
            await respond(request, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

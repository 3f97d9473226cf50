"""The caller of a request: whose token or session it carries, and what that allows. No caller, no answer."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request
from fastapi.responses import Response

from scheduler_core.domain.access.access import Scope, Token, csrf_token_of, digest_of_secret
from scheduler_core.domain.access.actor import Actor, Source
from scheduler_core.web.access.browser import (
    SESSION_SECONDS,
    check_csrf,
    check_origin,
    clear_cookie,
    session_secret,
    set_cookie,
)
from scheduler_core.web.problem import Problem
from scheduler_core.web.state import state_of

MOST_SECRET_CHARACTERS = 200
CALLER = "scheduler.caller"
"""Where a request keeps who calls, once that is known."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, by a token or by a session that a token opened."""

    token_id: UUID
    name: str
    scope: Scope
    csrf_token: str | None = None
    """Of a session: what its pages put into their forms."""

    @property
    def actor(self) -> Actor:
        """Who the log says it was."""
        return Actor(Source.API, f"token {self.name}")

    def may(self, scope: Scope) -> bool:
        """Whether the caller's scope allows what `scope` allows: pages show no button that would be refused."""
        return self.scope.includes(scope)


def require(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, who has at least this scope. Raises Problem 401, 403 or 429.

    A change in a session must come from a page of that session.
    """

    async def caller_with_scope(request: Request) -> Caller:
        caller: Caller | None = request.scope.get(CALLER) or await find_caller(request)
        if caller is None:
            raise not_signed_in()
        if caller.csrf_token is not None:
            await check_csrf(request, caller.csrf_token)
        if not caller.scope.includes(scope):
            raise Problem(
                403,
                "scope",
                f"the token {caller.name!r} has the scope {caller.scope.value}, and this needs {scope.value}",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope.value}"'},
            )
        return caller

    return caller_with_scope


async def find_caller(request: Request) -> Caller | None:
    """Who calls; None if the request names nobody. Raises Problem for a token that opens nothing."""
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer":
            raise _refused("the Authorization header names another scheme than Bearer")
        token = await find_token(request, secret.strip())
        if token is None:
            raise _refused("there is no such token, or it has expired or was revoked")
        return Caller(token.token_id, token.name, token.scope)
    secret_of_session = session_secret(request)
    if secret_of_session is None:
        return None
    found = await _look_up(request, secret_of_session, state_of(request).container.get_sessions().find)
    # A session that has ended is an everyday thing: the page asks to sign in again.
    return None if found is None else Caller(found.token_id, found.name, found.scope, csrf_token_of(secret_of_session))


def not_signed_in() -> Problem:
    """The request names nobody."""
    return Problem(
        401,
        "not-signed-in",
        "send a token as `Authorization: Bearer TOKEN` (`scheduler tokens create NAME` makes one), or sign in",
        headers={"WWW-Authenticate": "Bearer"},
    )


async def find_token(request: Request, secret: str) -> Token | None:
    """The token with this secret, if it stands; counts a failure of this address if not. Raises Problem 429."""
    return await _look_up(request, secret, state_of(request).container.get_tokens().find)


async def _look_up(request: Request, secret: str, find: Callable[[str], Awaitable[Token | None]]) -> Token | None:
    throttle = state_of(request).login_throttle
    address = request.client.host if request.client is not None else "unknown"
    digest = digest_of_secret(secret)
    wait_seconds = throttle.wait_seconds(address, digest, time.monotonic())
    if wait_seconds > 0:
        raise Problem(
            429,
            "too-many-failures",
            f"too many requests from {address} failed to sign in: wait {math.ceil(wait_seconds)} s",
            headers={"Retry-After": str(math.ceil(wait_seconds))},
        )
    found = await find(secret) if 0 < len(secret) <= MOST_SECRET_CHARACTERS else None
    if found is None:
        throttle.failed(address, digest, time.monotonic())
    else:
        throttle.succeeded(digest)
    return found


def _refused(detail: str) -> Problem:
    return Problem(401, "bad-token", detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


async def sign_in(request: Request, response: Response, secret: str) -> Caller | None:
    """Open a session for whoever holds this token, and set its cookie on the response; None if no such token stands.

    For the page that asks for a token. Raises Problem 403 for another site's form, 429 after too many failures.
    """
    check_origin(request)
    token = await find_token(request, secret.strip())
    if token is None:
        return None
    session = await state_of(request).container.get_sessions().open(token, seconds=SESSION_SECONDS)
    if session is None:
        return None
    set_cookie(response, request, session)
    return Caller(token.token_id, token.name, token.scope, csrf_token_of(session.secret))


async def sign_out(request: Request, response: Response) -> None:
    """End the browser's session, if there is one; the route needs `require`, which checks that a page of ours asked."""
    secret = session_secret(request)
    if secret is not None:
        await state_of(request).container.get_sessions().close(secret)
    clear_cookie(response, request)

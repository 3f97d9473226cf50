"""Sessions of browsers: a cookie that scripts can't read, and proof that a change was asked for on a page of ours."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import Response

from scheduler_core.domain.access.access import OpenedSession
from scheduler_core.web.problem import Problem

COOKIE = "scheduler_session"
SESSION_SECONDS = 12 * 3600.0
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


def session_secret(request: Request) -> str | None:
    """What the browser's cookie holds."""
    return request.cookies.get(COOKIE) or None


def set_cookie(response: Response, request: Request, session: OpenedSession) -> None:
    """Hand the session to the browser. Never readable by scripts, never sent along by other sites' forms."""
    response.set_cookie(
        COOKIE,
        session.secret,
        expires=session.expires_at,
        path=request.scope.get("root_path", "") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def clear_cookie(response: Response, request: Request) -> None:
    """Have the browser forget the session."""
    response.delete_cookie(COOKIE, path=request.scope.get("root_path", "") or "/", httponly=True, samesite="lax")


def check_origin(request: Request) -> None:
    """Refuse a change that another site's page asked for, as far as the browser tells. Raises Problem."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site not in (None, "same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise Problem(403, "other-site", "this request comes from a page of another site: nothing was done")


async def check_csrf(request: Request, expected: str) -> None:
    """Refuse a change in a session unless it carries the token of the session's pages. Raises Problem.

    The token stands in the header X-CSRF-Token or the form field `csrf_token`.
    """
    if request.method in SAFE_METHODS:
        return
    check_origin(request)
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.headers.get("content-type", "").startswith(FORM_TYPES):
        field = (await request.form()).get(CSRF_FIELD)
        given = field if isinstance(field, str) else None
    if given is None or not hmac.compare_digest(given.encode(), expected.encode()):
        raise Problem(403, "csrf", "this request does not carry its page's token: load the page anew and repeat")

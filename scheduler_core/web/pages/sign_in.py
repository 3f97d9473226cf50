"""Signing in with a token, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from scheduler_core.domain.access.access import Scope
from scheduler_core.web.access import Caller, require
from scheduler_core.web.access.callers import sign_in, sign_out
from scheduler_core.web.pages.rendering import render
from scheduler_core.web.pages.routes import PageRoute

router = APIRouter(route_class=PageRoute)

MOST_NEXT_CHARACTERS = 1_000


@router.get("/sign-in")
async def ask_for_token(request: Request) -> Response:
    """The form, for anybody."""
    return _form(request, request.query_params.get("next", "/"))


@router.post("/sign-in")
async def take_token(request: Request) -> Response:
    """Open a session for whoever holds the token, and go where they wanted to."""
    form = await request.form()
    token, wanted = form.get("token"), form.get("next")
    place = _place(wanted if isinstance(wanted, str) else "/")
    response = RedirectResponse(f"{request.scope.get('root_path', '')}{place}", 303)
    caller = await sign_in(request, response, token) if isinstance(token, str) else None
    if caller is None:
        return _form(request, place, "There is no such token, or it has expired or was revoked.", 401)
    return response


@router.post("/sign-out")
async def leave(request: Request, _caller: Annotated[Caller, Depends(require(Scope.VIEWER))]) -> Response:
    """End the session."""
    response = RedirectResponse(f"{request.scope.get('root_path', '')}/sign-in", 303)
    await sign_out(request, response)
    return response


def _place(wanted: str) -> str:
    """Where to go then: a path of ours, never another site's (`//evil`, `/\\evil`)."""
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_ours and "\\" not in wanted and len(wanted) <= MOST_NEXT_CHARACTERS else "/"


def _form(request: Request, wanted: str, problem: str | None = None, status: int = 200) -> Response:
    body = render(request, "sign_in.html", title="Sign in", next=_place(wanted), problem=problem)
    return HTMLResponse(body, status)

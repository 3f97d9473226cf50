"""The screens: one route per view, each whole, so that they work without any script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from scheduler_core.container import Container
from scheduler_core.domain.access.access import Scope
from scheduler_core.web.access import Caller, require
from scheduler_core.web.pages import audit, calendars, job, jobs, overview, replicas, run, runs
from scheduler_core.web.pages.activity import Activity
from scheduler_core.web.pages.done import done_words
from scheduler_core.web.pages.rendering import link_in, render, render_part
from scheduler_core.web.pages.routes import PageRoute
from scheduler_core.web.pages.view import Asked, View
from scheduler_core.web.state import state_of

router = APIRouter(route_class=PageRoute)

VIEWS = {module.VIEW.name: module.VIEW for module in (overview, jobs, job, runs, run, replicas, calendars, audit)}


def signed_in(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """As `require`, and the page knows who it is for."""
    required = require(scope)

    async def caller(request: Request) -> Caller:
        found = await required(request)
        request.state.caller = found
        return found

    return caller


async def fragment(
    view: View, values: dict[str, str], *, container: Container, activity: Activity, root: str, may_act: bool
) -> str:
    """What a view shows now, as it stands in the page and as the stream sends it: the same for all who may the same."""
    pulse = await container.get_activity().pulse()
    asked = Asked(container, values, pulse["now"], activity)
    shown = await view.read(asked)
    context = {"now": pulse["now"], "pulse": pulse, "may_act": may_act, "view": view, **shown}
    return render_part(f"views/{view.name}.html", root, context)


def _screen(view: View) -> Callable[..., Awaitable[Response]]:
    async def screen(request: Request, caller: Caller = Depends(signed_in(Scope.VIEWER))) -> Response:  # noqa: B008
        from scheduler_core.web.pages.hub import hub_of

        values = view.pick(request.query_params)
        root = request.scope.get("root_path", "")
        hub = hub_of(request)
        body = await fragment(
            view,
            values,
            container=state_of(request).container,
            activity=hub.activity,
            root=root,
            may_act=caller.may(Scope.OPERATOR),
        )
        stream = link_in(root, "/stream", view=view.name, **values) if view.is_live else None
        page: dict[str, Any] = {
            "title": view.title(values),
            "view": view,
            "stream": stream,
            "body": Markup(body),  # noqa: S704 - made by a template, which escaped what it was given
            "done": done_words(request.query_params),
        }
        return HTMLResponse(render(request, "screen.html", **page))

    return screen


for _view in VIEWS.values():
    router.add_api_route(_view.path, _screen(_view), methods=["GET"], response_class=HTMLResponse)

"""Routes of pages: an error is answered by a page for people, and who has not signed in is sent to do so."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from scheduler_core.domain.errors import SchedulerError
from scheduler_core.web.pages.rendering import render
from scheduler_core.web.problem import TITLES, Problem, problem_of, respond


class PageRoute(APIRoute):
    """A route whose errors are pages. Those that are not ours go on to the application's handlers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                return problem_page(request, problem)
            except SchedulerError as error:
                return problem_page(request, problem_of(error))

        return answer


def problem_page(request: Request, problem: Problem) -> Response:
    """A problem as a page."""
    if problem.status_code == 401:
        return respond(request, problem)
    title = TITLES.get(problem.status_code, "It did not work")
    body = render(request, "problem.html", title=title, problem=problem)
    return Response(body, problem.status_code, headers=problem.headers, media_type="text/html")

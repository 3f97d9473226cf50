"""application/problem+json (RFC 9457) from our error tree: one table, one shape for every answer that is no success."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from scheduler_core.domain import errors
from scheduler_core.web.security_headers import HEADERS

logger = logging.getLogger("scheduler_core.web")

MEDIA_TYPE = "application/problem+json"
MOST_DETAIL_CHARACTERS = 2_000
MOST_ERRORS = 20

# The first of these that an error is an instance of decides, so the special ones stand first.
STATUS_OF: Sequence[tuple[type[errors.SchedulerError], int]] = (
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.CallbackNotAllowedError, 422),
    (errors.CallbackNotFoundError, 422),
    (errors.InvalidJobError, 422),
    (errors.InvalidCalendarError, 422),
    (errors.InvalidTokenError, 422),
    (errors.ServerUnreachableError, 503),
    (errors.SchemaError, 503),
)

TITLES = {
    400: "The request can't be read",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The request came too slowly",
    409: "Somebody else was first",
    413: "The request is too large",
    414: "The address is too long",
    415: "Not this media type",
    422: "The request can't be accepted",
    428: "Say which version you saw",
    429: "Too many failures",
    500: "Something went wrong here",
    503: "A server is out of reach",
}


class Problem(HTTPException):
    """An answer that is no success. An HTTPException, because FastAPI hands those on wherever they are raised.

    Parameters: status, of HTTP; kind, a short name that programs may rely on; detail, for people: what happened and
    what to do; headers and more, further headers and members.
    """

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.kind = kind
        self.more = more


ProblemPage = Callable[[Request, Problem], Response]
"""How a problem looks to a person: the pages know."""


def problem_of(error: errors.SchedulerError) -> Problem:
    """One of our errors as a problem."""
    status = next((status for kind, status in STATUS_OF if isinstance(error, kind)), 500)
    kind = "".join(f"-{c.lower()}" if c.isupper() else c for c in type(error).__name__.removesuffix("Error"))
    return Problem(status, kind.strip("-"), str(error), headers={"Retry-After": "1"} if status == 503 else None)


def answer(problem: Problem) -> Response:
    """The problem as a response."""
    document = {
        "type": f"urn:scheduler-core:{problem.kind}",
        "title": TITLES.get(problem.status_code, "It did not work"),
        "status": problem.status_code,
        "detail": problem.detail[:MOST_DETAIL_CHARACTERS],
        **problem.more,
    }
    return JSONResponse(document, problem.status_code, headers=problem.headers, media_type=MEDIA_TYPE)


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks, for a page."""
    is_for_a_script = "/api/" in request.url.path or request.url.path.endswith("/stream")
    return not is_for_a_script and request.method == "GET" and "text/html" in request.headers.get("accept", "")


def respond(request: Request, error: Problem | errors.SchedulerError) -> Response:
    """The answer to one of our errors. A person who has to sign in is shown where."""
    if isinstance(error, errors.SchedulerError):
        problem = problem_of(error)
        if problem.status_code >= 500:
            logger.warning("%s %s: %s", request.method, request.url.path, error)
        return answer(problem)
    if error.status_code == 401 and wants_page(request):
        root = request.scope.get("root_path", "")
        path = request.url.path.removeprefix(root)
        asked = f"{path}?{request.url.query}" if request.url.query else path
        return RedirectResponse(f"{root}/sign-in?next={quote(asked)}", 303)
    return answer(error)


async def _on_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, (Problem, errors.SchedulerError))
    return respond(request, error)


async def _on_invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [
        {"where": ".".join(str(part) for part in item["loc"]), "what": str(item["msg"])}
        for item in error.errors()[:MOST_ERRORS]
    ]
    detail = "; ".join(f"{item['where']}: {item['what']}" for item in found)
    return answer(Problem(422, "invalid-request", detail, errors=found))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds = {400: "unreadable", 404: "no-such-address", 405: "method-not-allowed"}
    kind = kinds.get(error.status_code, "http-error")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # The router names those of the first route that has this path; there may be one for each method.
        headers["Allow"] = ", ".join(methods_at(request)) or headers.get("allow", "")
    problem = Problem(error.status_code, kind, str(error.detail), headers=headers)
    page_of: ProblemPage | None = getattr(request.app.state, "problem_page", None)
    return page_of(request, problem) if page_of is not None and wants_page(request) else answer(problem)


def methods_at(request: Request) -> list[str]:
    """The documented methods of an address."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return sorted(
        {
            method.upper()
            for template, operations in request.app.openapi()["paths"].items()
            for method in operations
            if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path)
        }
    )


async def _on_anything(request: Request, error: Exception) -> Response:
    # The traceback is for the log; a caller learns nothing from it but what to break next.
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    # It is answered outside of the middleware that adds these headers.
    return answer(
        Problem(500, "internal-error", "this is a defect of the scheduler, and its log says more", headers=HEADERS)
    )


def install(app: FastAPI, problem_page: ProblemPage | None = None) -> None:
    """Have every error of this application answered as a problem; a person's browser is shown it as a page, if any."""
    app.state.problem_page = problem_page
    app.add_exception_handler(Problem, _on_ours)
    app.add_exception_handler(errors.SchedulerError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_anything)

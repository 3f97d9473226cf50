"""Backfilling a job: first a preview of what would be made, then the making of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from scheduler_core.domain.access.access import Scope
from scheduler_core.domain.errors import SchedulerError
from scheduler_core.domain.jobs.backfill import Backfill
from scheduler_core.domain.schedule import parse_instant
from scheduler_core.web.access import Caller
from scheduler_core.web.pages.actions import text_values
from scheduler_core.web.pages.rendering import link_in, render
from scheduler_core.web.pages.routes import PageRoute
from scheduler_core.web.pages.screens import signed_in
from scheduler_core.web.problem import problem_of
from scheduler_core.web.state import state_of

router = APIRouter(route_class=PageRoute)

NAMES = ("id", "since", "until")
SHOWN_AT_EACH_END = 10


@router.get("/job/backfill")
async def preview(request: Request, _caller: Caller = Depends(signed_in(Scope.OPERATOR))) -> Response:  # noqa: B008
    """The form; with a range, also what a backfill of it would make."""
    values = text_values(NAMES, request.query_params)
    if not values["since"] and not values["until"]:
        return _page(request, values)
    try:
        operations = state_of(request).container.get_run_operations()
        found = await operations.preview_backfill(values["id"], *_range(values))
    except SchedulerError as error:
        return _page(request, values, problem=error)
    return _page(request, values, found)


@router.post("/job/backfill")
async def make(request: Request, caller: Caller = Depends(signed_in(Scope.OPERATOR))) -> Response:  # noqa: B008
    """Make what the preview showed, as far as it is not there by now."""
    values = text_values(NAMES, await request.form())
    try:
        operations = state_of(request).container.get_run_operations()
        made = await operations.backfill(values["id"], *_range(values))
    except SchedulerError as error:
        return _page(request, values, problem=error)
    done = {"id": values["id"], "done": "backfilled", "count": len(made.to_make)}
    return RedirectResponse(link_in(request.scope.get("root_path", ""), "/job", **done), 303)


def _range(values: Mapping[str, str]) -> tuple[datetime, datetime]:
    """Raises InvalidScheduleError."""
    return parse_instant(values["since"].strip(), "UTC"), parse_instant(values["until"].strip(), "UTC")


def _page(
    request: Request, values: Mapping[str, str], found: Backfill | None = None, problem: SchedulerError | None = None
) -> Response:
    body = render(
        request,
        "backfill.html",
        title=f"Backfill {values['id']}",
        job_id=values["id"],
        since=values["since"],
        until=values["until"],
        preview=found,
        rows=_rows(found) if found is not None else [],
        problem=problem,
    )
    return HTMLResponse(body, 200 if problem is None else problem_of(problem).status_code)


def _rows(found: Backfill) -> list[tuple[datetime | None, str]]:
    """The occurrences with what becomes of each; of many, those at both ends."""
    rows: list[tuple[datetime | None, str]] = [(instant, "would be made") for instant in found.to_make]
    rows += [(instant, f"is there: {status}") for instant, status in found.existing]
    rows.sort(key=lambda row: str(row[0]))
    if len(rows) <= 2 * SHOWN_AT_EACH_END:
        return rows
    left_out = len(rows) - 2 * SHOWN_AT_EACH_END
    return [*rows[:SHOWN_AT_EACH_END], (None, f"{left_out:,} more"), *rows[-SHOWN_AT_EACH_END:]]

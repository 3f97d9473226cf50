"""/livez and /readyz: for whoever restarts processes, and for whoever sends them work. Open to all, and silent."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from scheduler_core.domain.election.health import why_not_alive, why_not_ready
from scheduler_core.web.documented import problems
from scheduler_core.web.state import state_of

router = APIRouter(tags=["health"])

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"example": "ok"}}, "description": "Yes."},
    503: {"content": {"text/plain": {"schema": {"type": "string"}, "example": "stopping"}}, "description": "No: why."},
    **problems(400, 408, 413),
}


@router.get("/livez", response_class=PlainTextResponse, responses=_RESPONSES, summary="Does this process live?")
async def livez(request: Request) -> PlainTextResponse:
    """503 means that only a restart mends it. A server that is out of reach is no reason to restart."""
    replica = state_of(request).container.replica
    return _answer(None if replica is None else why_not_alive(replica.health_snapshot()))


@router.get("/readyz", response_class=PlainTextResponse, responses=_RESPONSES, summary="Does this process take part?")
async def readyz(request: Request) -> PlainTextResponse:
    """A replica is ready as soon as it takes part in the election, as leader or follower; a process that only serves,
    while Postgres answers.
    """
    state = state_of(request)
    replica = state.container.replica
    if replica is not None:
        return _answer(why_not_ready(replica.health_snapshot()))
    await state.observer.look()
    # What exactly is wrong with Postgres is for the log: here anybody may ask.
    return _answer(None if state.observer.problem is None else "Postgres does not answer as it should")


def _answer(problem: str | None) -> PlainTextResponse:
    return PlainTextResponse("ok\n") if problem is None else PlainTextResponse(f"{problem}\n", 503)

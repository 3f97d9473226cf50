"""What the schedules will do, before they do it: worked out in a process of its own, where it slows down no fire."""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator

from scheduler_core.container import Container
from scheduler_core.web.api.schemas.simulation import Simulation
from scheduler_core.web.api.values import ContainerDep, Viewer
from scheduler_core.web.documented import problems
from scheduler_core.web.problem import Problem
from scheduler_core.web.simulator import MOST_SECONDS, Simulator
from scheduler_core.web.state import state_of

router = APIRouter(tags=["operations"])

MOST_DAYS = 366
USAGE = 2

FIRST_YEAR, LAST_YEAR = 1971, 2999


def _of_our_time(day: date) -> date:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"give a day of the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


Day = Annotated[date, AfterValidator(_of_our_time)]


@router.get("/simulation", response_model=Simulation, responses=problems(409))
async def simulate(
    request: Request,
    _caller: Viewer,
    container: ContainerDep,
    days: Annotated[int, Query(ge=1, le=MOST_DAYS, description="whole days of local time")] = 30,
    since: Annotated[Day | None, Query(description="the first day; today by default")] = None,
    timezone: Annotated[str | None, Query(max_length=100, pattern="^[A-Za-z]", examples=["Europe/Berlin"])] = None,
    history: Annotated[bool, Query(description="durations from the stored history")] = False,
) -> dict[str, Any]:
    """Fire the stored schedules over virtual days: where jobs meet, how many an hour, what overlaps."""
    simulator = state_of(request).simulator
    if simulator.is_busy:  # each simulation takes a core
        raise Problem(
            409, "under-way", "another simulation is under way: repeat in a moment", headers={"Retry-After": "5"}
        )
    words = ["--days", str(days), "--timezone", timezone or container.settings.default_timezone, "--json"]
    words += ["--from", since.isoformat()] if since is not None else []
    words += ["--history"] if history else []
    return await _run(simulator, container, words)


async def _run(simulator: Simulator, container: Container, words: list[str]) -> dict[str, Any]:
    try:
        answer = await simulator.ask(container, words)
    except TimeoutError:
        raise Problem(422, "too-long", f"this took more than {MOST_SECONDS:g} s: ask for fewer days") from None
    except ConnectionError as error:
        raise Problem(503, "simulation-failed", str(error), headers={"Retry-After": "5"}) from None
    if answer.code == USAGE:
        raise Problem(422, "invalid-simulation", _last_line(answer.errors))
    if answer.code != 0:
        raise Problem(503, "simulation-failed", _last_line(answer.errors), headers={"Retry-After": "5"})
    found: dict[str, Any] = json.loads(answer.output)
    return found


def _last_line(errors: str) -> str:
    lines = errors.strip().splitlines()
    return lines[-1].removeprefix("scheduler: ") if lines else "the simulation said nothing"

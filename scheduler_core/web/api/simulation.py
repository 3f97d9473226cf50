"""What the schedules will do, before they do it: worked out in a process of its own, where it slows down no fire."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator

from scheduler_core.container import Container
from scheduler_core.web.api import schemas
from scheduler_core.web.api.documented import problems
from scheduler_core.web.api.values import Served, Viewer
from scheduler_core.web.problem import Problem

router = APIRouter(tags=["operations"])

MOST_DAYS = 366
MOST_SECONDS = 60.0
USAGE = 2

FIRST_YEAR, LAST_YEAR = 1971, 2999


def _of_our_time(day: date) -> date:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"give a day of the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


Day = Annotated[date, AfterValidator(_of_our_time)]

_at_once = asyncio.Semaphore(1)
"""Of one process: each simulation takes a core."""


@router.get("/simulation", response_model=schemas.Simulation, responses=problems(409))
async def simulate(
    _caller: Viewer,
    container: Served,
    days: Annotated[int, Query(ge=1, le=MOST_DAYS, description="whole days of local time")] = 30,
    since: Annotated[Day | None, Query(description="the first day; today by default")] = None,
    timezone: Annotated[str | None, Query(max_length=100, pattern="^[A-Za-z]", examples=["Europe/Berlin"])] = None,
    history: Annotated[bool, Query(description="durations from the stored history")] = False,
) -> dict[str, Any]:
    """Fire the stored schedules over virtual days: where jobs meet, how many an hour, what overlaps."""
    if _at_once.locked():
        raise Problem(
            409, "under-way", "another simulation is under way: repeat in a moment", headers={"Retry-After": "5"}
        )
    words = ["--days", str(days), "--timezone", timezone or container.settings.default_timezone, "--json"]
    words += ["--from", since.isoformat()] if since is not None else []
    words += ["--history"] if history else []
    async with _at_once:
        return await _run(container, words)


async def _run(container: Container, words: list[str]) -> dict[str, Any]:
    kind = [nice, "-n", "19"] if (nice := shutil.which("nice")) is not None else []
    process = await asyncio.create_subprocess_exec(
        *kind,
        *(sys.executable, "-m", "scheduler_core.cli", "simulate", *words),
        env={
            **os.environ,
            "SCHEDULER_DATABASE_URL": container.database_url,
            "SCHEDULER_SCHEMA": container.settings.schema,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(MOST_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        raise Problem(422, "too-long", f"this took more than {MOST_SECONDS:g} s: ask for fewer days") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == USAGE:
        raise Problem(422, "invalid-simulation", _last_line(errors))
    if process.returncode != 0:
        raise Problem(503, "simulation-failed", _last_line(errors), headers={"Retry-After": "5"})
    found: dict[str, Any] = json.loads(output)
    return found


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("scheduler: ") if lines else "the simulation said nothing"

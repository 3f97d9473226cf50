"""Values for tests of the parts of a fire: a run, what it is active with, and stand-ins for what a part asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from scheduler_core import ScheduleJob
from scheduler_core.domain.planning.planning import StoredJob
from scheduler_core.domain.runs.run import Origin, Outcome, Run
from scheduler_core.engine.fire.active_run import ActiveRun

AT = datetime(2026, 1, 1, tzinfo=UTC)


def a_run(number: int = 1, **fields: Any) -> Run:
    """A run of job `j` that is due at `AT`."""
    return Run(
        **{
            "run_id": UUID(int=number),
            "job_id": "j",
            "scheduled_for": AT,
            "due_at": AT,
            "origin": Origin.SCHEDULE,
            "term": 1,
            "definition_version": 1,
        }
        | fields
    )


def a_stored_job(callback: Callable[..., Any], **fields: Any) -> StoredJob:
    """Job `j` as the database has it: once, now, with this callback."""
    definition = ScheduleJob("j", "J", "once", None, callback, **fields).definition("UTC")
    return StoredJob(definition, 1, AT, definition.schedule(AT), AT)


def an_active_run(callback: Callable[..., Any], *, run: Run | None = None, **fields: Any) -> ActiveRun:
    """Its run, being executed by the current task."""
    active = ActiveRun(run or a_run(), a_stored_job(callback, **fields), AT, AT, time.monotonic(), 1, 0)
    active.task = asyncio.current_task()
    active.is_calling = True
    return active


@dataclass
class Window:
    """A trust window that answers what the test says; asked `allows` so many times."""

    answers: bool = True
    holds_life: bool = True
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    def allows(self, run: Run) -> bool:
        self.asked += 1
        return self.answers


@dataclass
class Notebook:
    """A journal in memory."""

    is_open: bool = True
    starts: list[ActiveRun] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    async def start_run(self, active: ActiveRun) -> bool:
        self.starts.append(active)
        return True

    async def record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def record_soon(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    async def record_durably(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

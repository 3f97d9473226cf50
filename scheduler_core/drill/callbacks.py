"""The drill's app: `scheduler run --app scheduler_core.drill.callbacks`, with SCHEDULER_DRILL naming its file.

Every callback writes a line into a witness file before and after its work. Most do nothing else; some wait for a
command of the drill to block, to die or to fork.

SCHEDULER_DRILL_SKEW_SECONDS makes this replica's wall clock wrong by so much. The kernel's clock belongs to the whole
machine (a time namespace does not cover it), so what is skewed is what this process reads: `time.time`, `time.time_ns`
and the `datetime.now` of the scheduler's own modules, which is every reading of a wall clock that scheduler and
storage make. Witness files keep the true one. What is due, who leads and for how long must not depend on it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from scheduler_core.domain.jobs.job import ScheduleJob
from scheduler_core.domain.runs.run import RunContext
from scheduler_core.drill.commands import Answer, Commands
from scheduler_core.drill.evidence import Moment
from scheduler_core.drill.jobs import JOB_KINDS, JobKind, read_jobs
from scheduler_core.drill.witness import Witness
from scheduler_core.service import job

DRILL_VARIABLE = "SCHEDULER_DRILL"
SKEW_VARIABLE = "SCHEDULER_DRILL_SKEW_SECONDS"

LASTS_SECONDS = (0.5, 1.0)
LOCKED_SECONDS = 2.0
HOLD_SECONDS = 30.0
HOLD_POLL_SECONDS = 0.02
CHILD_SECONDS = 15.0

_true_wall_ns = time.time_ns
_witness = Witness(Path(), _true_wall_ns)
_commands = Commands(Path())


async def tick(ctx: RunContext) -> None:
    """Does nothing: that it was called is what counts."""
    _witness.write(Moment.BEGAN, ctx)
    _witness.write(Moment.ENDED, ctx)


async def lasts(ctx: RunContext) -> None:
    """Is usually under way when a fault hits."""
    _witness.write(Moment.BEGAN, ctx)
    await asyncio.sleep(random.uniform(*LASTS_SECONDS))
    _witness.write(Moment.ENDED, ctx)


async def locked(ctx: RunContext) -> None:
    """Runs under a distributed lock; on command for long enough to be killed inside."""
    _witness.write(Moment.BEGAN, ctx)
    if _commands.claim("locked") is not None:
        _obey("locked")
        await asyncio.sleep(LOCKED_SECONDS)
    _witness.write(Moment.ENDED, ctx)


async def blocks(ctx: RunContext) -> None:
    """On command blocks the event loop, as a careless callback does."""
    _witness.write(Moment.BEGAN, ctx)
    seconds = _commands.claim("blocks")
    if seconds is not None:
        _obey("blocks")
        time.sleep(float(seconds))  # noqa: ASYNC251 - this is the fault
    _witness.write(Moment.ENDED, ctx)


def suicidal(ctx: RunContext) -> None:
    """On command kills its own process."""
    _witness.write(Moment.BEGAN, ctx)
    if _commands.claim("suicidal") is not None:
        _obey("suicidal")
        os.kill(os.getpid(), signal.SIGKILL)
    _witness.write(Moment.ENDED, ctx)


def forks(ctx: RunContext) -> None:
    """On command leaves a child behind that was forked without exec, and dies."""
    _witness.write(Moment.BEGAN, ctx)
    if _commands.claim("forks") is not None:
        child = os.fork()
        if child == 0:
            time.sleep(CHILD_SECONDS)
            os._exit(0)
        _obey("forks", child)
        os.kill(os.getpid(), signal.SIGKILL)
    _witness.write(Moment.ENDED, ctx)


async def holds(ctx: RunContext) -> None:
    """On command goes on for 30 s, or until it is released: the work under way when a leader is asked to stop."""
    _witness.write(Moment.BEGAN, ctx)
    if _commands.claim("holds") is not None:
        _obey("holds")
        ends_at = time.monotonic() + HOLD_SECONDS
        while time.monotonic() < ends_at and not _commands.is_given("release"):  # noqa: ASYNC110 - across processes
            await asyncio.sleep(HOLD_POLL_SECONDS)
    _witness.write(Moment.ENDED, ctx)


def _obey(name: str, child_pid: int | None = None) -> None:
    _commands.obey(name, Answer(os.getpid(), _true_wall_ns(), child_pid))


CALLBACKS = {function.__name__: function for function in (tick, lasts, locked, blocks, suicidal, forks, holds)}


def schedule_job(kind: JobKind, starts_at: datetime) -> ScheduleJob:
    """A job of the table, its first instant `starts_at` itself."""
    return ScheduleJob(**_fields(kind, starts_at))


def _fields(kind: JobKind, starts_at: datetime) -> dict[str, Any]:
    return {
        "job_id": kind.job_id,
        "name": kind.job_id,
        "schedule_type": "INTERVAL",
        "schedule_value": timedelta(milliseconds=kind.every_ms),
        "callback": CALLBACKS[kind.callback],
        "start_at": starts_at,
        "timezone": "UTC",
        **kind.policies,
    }


class _SkewedType(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


def skew_wall_clock(seconds: float) -> None:
    """Make this process's wall clock wrong by `seconds`; see the module."""
    true_time, true_ns = time.time, time.time_ns
    shift = timedelta(seconds=seconds)

    class SkewedDatetime(datetime, metaclass=_SkewedType):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz or UTC) + shift

    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)
    for name, module in list(sys.modules.items()):
        ours = name.startswith(("scheduler_core.engine", "storage.")) and "embedded" not in name
        if ours and getattr(module, "datetime", None) is datetime:
            module.datetime = SkewedDatetime  # type: ignore[attr-defined]


def declare(drill_file: Path) -> None:
    """Register the jobs in this process: it is a replica."""
    folder, starts_at = read_jobs(drill_file)
    _witness.folder = folder
    _commands.folder = folder / "commands"
    for kind in JOB_KINDS:
        fields = _fields(kind, starts_at[kind.job_id])
        del fields["schedule_type"]
        callback, every = fields.pop("callback"), fields.pop("schedule_value")
        job(every=every, **fields)(callback)


if DRILL_VARIABLE in os.environ:
    declare(Path(os.environ[DRILL_VARIABLE]))
    if SKEW_VARIABLE in os.environ:
        skew_wall_clock(float(os.environ[SKEW_VARIABLE]))

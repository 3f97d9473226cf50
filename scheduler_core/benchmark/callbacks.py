"""What the leader calls while it is measured: nothing, or a note of how late the call came.

Notes are kept in memory and written when the process ends: a file for each call would be most of what is measured.
"""

from __future__ import annotations

import atexit
import os
import time
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler_core.domain.runs.run import RunContext

NOTES_VARIABLE = "SCHEDULER_MEASURE"
"""Names the file that the notes go to."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_notes = array("q")


async def work() -> None:
    """Does nothing: what is measured is the scheduler."""


async def note(ctx: RunContext) -> None:
    """Notes for when the call was due and when it came, by this machine's wall clock."""
    came_us = time.time_ns() // 1_000
    _notes.append((ctx.scheduled_for - _EPOCH) // _MICROSECOND)
    _notes.append(came_us)


def read_notes(file: Path) -> Iterator[tuple[datetime, float]]:
    """When each call was due, and how many milliseconds later it came."""
    notes = array("q")
    notes.frombytes(file.read_bytes())
    for due_us, came_us in zip(notes[::2], notes[1::2], strict=True):
        yield _EPOCH + due_us * _MICROSECOND, (came_us - due_us) / 1_000


if NOTES_VARIABLE in os.environ:
    atexit.register(lambda: Path(os.environ[NOTES_VARIABLE]).write_bytes(_notes.tobytes()))

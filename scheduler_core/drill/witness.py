"""Witness files: what callbacks themselves wrote down, one file per process, one append per line.

The scheduler has no part in them. A line that a kill cut off in the middle is no line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from scheduler_core.domain.runs.run import RunContext
from scheduler_core.drill.evidence import Call, Moment

PATTERN = "witness-*.tsv"


@dataclass(slots=True)
class Witness:
    """This process's file. Parameters: folder, where; wall_ns, the machine's true wall clock in nanoseconds."""

    folder: Path
    wall_ns: Callable[[], int]
    _file: int | None = field(default=None)
    _pid: int = field(default=0)

    def write(self, moment: Moment, ctx: RunContext) -> None:
        """Append one line: one write, so that lines never mix and at most the last one is cut off."""
        pid = os.getpid()
        if self._file is None or self._pid != pid:
            path = self.folder / f"witness-{pid}-{self.wall_ns()}.tsv"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._pid = pid
        fields = (
            moment,
            ctx.job_id,
            ctx.scheduled_for.isoformat(),
            ctx.attempt,
            ctx.term,
            ctx.run_id,
            pid,
            self.wall_ns(),
        )
        os.write(self._file, ("\t".join(map(str, fields)) + "\n").encode())


def read_calls(folder: Path, at_wall: Callable[[int], datetime]) -> Iterator[Call]:
    """All lines of all processes, file by file. `at_wall` turns wall clock nanoseconds into the database's time."""
    for path in sorted(folder.glob(PATTERN)):
        with path.open(encoding="ascii", errors="replace") as file:
            for line in file:
                call = _call(line, at_wall)
                if call is not None:
                    yield call


def _call(line: str, at_wall: Callable[[int], datetime]) -> Call | None:
    parts = line.rstrip("\n").split("\t")
    if not line.endswith("\n") or len(parts) != 8:
        return None
    return Call(
        moment=Moment(parts[0]),
        job_id=parts[1],
        scheduled_for=datetime.fromisoformat(parts[2]),
        attempt=int(parts[3]),
        term=int(parts[4]),
        run_id=UUID(parts[5]),
        pid=int(parts[6]),
        at=at_wall(int(parts[7])),
    )

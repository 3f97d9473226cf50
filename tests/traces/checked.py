"""Both checkers, as one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scheduler_core.drill.trace import Line

from .cycles import NotSerializableError, check
from .replay import TraceRefusedError, replay


def refusals(lines: Sequence[Line]) -> dict[str, str]:
    """By checker, why it refuses the trace; empty where both allow it."""
    found = {}
    try:
        replay(lines)
    except TraceRefusedError as error:
        found["replay"] = str(error)
    try:
        check(lines)
    except NotSerializableError as error:
        found["cycles"] = str(error)
    return found


def of_job(lines: Sequence[Line], job: str) -> list[Line]:
    """The same trace, of one job alone: a part of an honest trace is honest."""
    runs = {w.name for line in lines for w in line.writes if w.of == "run" and (w.now or {}).get("job_id") == job}
    names = {"leader", job, *runs}
    kept = []
    for line in lines:
        writes = tuple(write for write in line.writes if write.name in names)
        if writes or (not line.writes and (line.run is None or line.run in runs)):
            kept.append(replace(line, writes=writes))
    return kept

"""The drill's jobs, as a table: something falls due every 7 ms, out of step with everything else.

Who writes the table into a file is the drill; who reads it are the replicas, in `drill.callbacks`. The instants are
integers of milliseconds: the judgement does its own arithmetic on them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from scheduler_core.drill.evidence import DrillJob

LOCK_TTL_SECONDS = 30.0
COMMAND_EVERY_MS = 250
"""How often a job that waits for a command looks for it."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job: the callback's name in `drill.callbacks`, its period and its policies."""

    job_id: str
    callback: str
    every_ms: int
    offset_ms: int
    kills_its_owner: bool = False
    policies: dict[str, Any] = field(default_factory=dict)


JOB_KINDS: tuple[JobKind, ...] = (
    *(
        JobKind(f"tick-{n}", "tick", 50, 7 * n, policies={"misfire": {5: "all", 6: "skip"}.get(n, "latest")})
        for n in range(7)
    ),
    *(JobKind(f"once-a-{n}", "tick", 200, 3 + 101 * n, policies={"delivery": "at_most_once"}) for n in range(2)),
    JobKind("long", "lasts", 500, 11, policies={"overlap": "allow"}),
    JobKind(
        "locked",
        "locked",
        200,
        17,
        policies={"use_distributed_lock": True, "lock_key": "scheduler-drill:locked", "lock_ttl": LOCK_TTL_SECONDS},
    ),
    JobKind("blocks", "blocks", COMMAND_EVERY_MS, 23),
    JobKind("suicidal", "suicidal", COMMAND_EVERY_MS, 61, kills_its_owner=True),
    JobKind("forks", "forks", COMMAND_EVERY_MS, 127, kills_its_owner=True),
    JobKind("holds", "holds", COMMAND_EVERY_MS, 191, policies={"overlap": "allow"}),
)

TICKS: tuple[str, ...] = tuple(kind.job_id for kind in JOB_KINDS if kind.callback == "tick")
"""The jobs whose runs show who fires."""


def drill_jobs(begins_at: datetime) -> tuple[DrillJob, ...]:
    """The jobs as the judgement knows them, the first of them due at `begins_at`."""
    return tuple(
        DrillJob(
            job_id=kind.job_id,
            starts_at=begins_at + timedelta(milliseconds=kind.offset_ms),
            every_ms=kind.every_ms,
            delivery=kind.policies.get("delivery", "at_least_once"),
            misfire=kind.policies.get("misfire", "latest"),
            kills_its_owner=kind.kills_its_owner,
        )
        for kind in JOB_KINDS
    )


def write_jobs(path: Path, jobs: Sequence[DrillJob], folder: Path) -> None:
    """The file that replicas read: their jobs' first instants, and the folder for witness and command files."""
    instants = {job.job_id: job.starts_at.isoformat() for job in jobs}
    path.write_text(json.dumps({"folder": str(folder), "starts_at": instants}, indent=2), encoding="utf-8")


def read_jobs(path: Path) -> tuple[Path, dict[str, datetime]]:
    """The folder and the first instants, by job."""
    held = json.loads(path.read_text(encoding="utf-8"))
    return Path(held["folder"]), {job_id: datetime.fromisoformat(at) for job_id, at in held["starts_at"].items()}

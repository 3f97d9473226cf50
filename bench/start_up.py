"""How long it takes to import what a program imports, and until a fresh replica process leads."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from bench.sizes import Sizes
from scheduler_core.benchmark.figure import Figure, median
from scheduler_core.benchmark.stage import Servers

IMPORT = "from scheduler_core import SchedulerService, ScheduleJob"
SCRIPT = f"import time; began = time.perf_counter(); {IMPORT}; print(time.perf_counter() - began)"


async def measure(servers: Servers, sizes: Sizes) -> list[Figure]:
    """Medians, each over fresh processes; the first of each is left out: it fills the caches of files."""
    imports = [await asyncio.to_thread(_import_ms) for _ in range(sizes.imports + 1)][1:]
    starts = []
    for _ in range(sizes.imports + 1):
        async with servers.stage("start_up") as stage, stage.leader() as leader:
            starts.append(round(leader.age_seconds * 1_000, 1))
    note = f"median of {sizes.imports} processes"
    return [
        Figure(
            "start_up.import_ms",
            "import of SchedulerService and ScheduleJob",
            median(imports),
            "ms",
            samples=tuple(imports),
            note=f"{IMPORT}, {note}",
        ),
        Figure(
            "start_up.leads_ms",
            "process started → leads",
            median(starts[1:]),
            "ms",
            samples=tuple(starts[1:]),
            note=f"{note}, `scheduler run` on a migrated schema",
        ),
    ]


def _import_ms() -> float:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    return round(float(done.stdout) * 1_000, 1)

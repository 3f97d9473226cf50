"""`python -m bench [MEASURE…] [--quick] [--json FILE]`: all figures in one run, on the same embedded servers.

`python -m bench compare BEFORE.json AFTER.json` holds two result files side by side; `python -m bench history` asks
and drops ten million runs; `python -m bench pinned` fires beside a transaction that is left open;
`python -m bench peers` measures the peers beside ourselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from bench import (
    add_jobs,
    counters,
    history,
    idle,
    lateness,
    next_fires,
    outage,
    pinned,
    start_up,
    takeover,
    throughput,
    tick,
)
from bench.compare import print_comparison
from bench.goals import with_goal
from bench.peers import compare as peers
from bench.picture import draw_svg
from bench.sizes import QUICK, Sizes
from scheduler_core import SchedulerError
from scheduler_core.benchmark.document import as_document, machine
from scheduler_core.benchmark.figure import Figure
from scheduler_core.benchmark.report import render
from scheduler_core.benchmark.stage import Servers, open_servers

Measure = Callable[[Servers, Sizes], Awaitable[list[Figure]]]

MEASURES: dict[str, Measure] = {
    "throughput": throughput.measure,
    "lateness": lateness.measure,
    "tick": tick.measure,
    "add_jobs": add_jobs.measure,
    "takeover": takeover.measure,
    "idle": idle.measure,
    "start_up": start_up.measure,
    "next_fires": next_fires.measure,
    "outage": outage.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"{', '.join(MEASURES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, measures little")
    parser.add_argument("--fires", type=int, metavar="N", help="how many jobs are due at once")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of the throughput")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw them")
    parser.add_argument(
        "--label", default="", help="what the results should say of themselves: which machine, how busy"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave servers' data and all logs there for a look")
    parser.add_argument("--notes", action="store_true", help="say beside each figure how it was taken")
    given = parser.parse_args()
    if unknown := [name for name in given.measures if name not in MEASURES]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    sizes = QUICK if given.quick else Sizes()
    sizes = replace(sizes, fires_at_once=given.fires or sizes.fires_at_once, rounds=given.rounds or sizes.rounds)
    figures, failures = run(given.measures or list(MEASURES), sizes, given.keep)
    Console(width=None if sys.stdout.isatty() else 160).print(render(figures, notes=given.notes))
    if given.json is not None:
        document = as_document(figures, label=given.label, commit=_commit(), sizes=asdict(sizes))
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if given.picture is not None:
        given.picture.write_text(draw_svg(figures, *_caption(given.label)), encoding="utf-8")
    sys.exit("\n".join(failures) or None)


def _caption(label: str) -> tuple[str, str]:
    about = machine()
    where = (
        f"{about['cores']} cores, {about['cpu']}, Python {about['python']}; Postgres, Redis and leader on one machine"
    )
    return "What one leader does", f"{where}, fsync on{'; ' + label if label else ''}"


def run(names: list[str], sizes: Sizes, folder: Path | None = None) -> tuple[list[Figure], list[str]]:
    """The measures, one after the other, on the same servers; also which of them came to nothing, and why."""
    began = time.monotonic()
    progress = Console(stderr=True)

    def tell(line: str) -> None:
        progress.print(f"{time.monotonic() - began:7.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)

    async def all_of_them(servers: Servers) -> tuple[list[Figure], list[str]]:
        figures: list[Figure] = []
        failures: list[str] = []
        for name in names:
            tell(f"{name} …")
            try:
                figures += map(with_goal, await MEASURES[name](servers, sizes))
            except SchedulerError as error:
                failures.append(f"{name} came to nothing: {error}")
                tell(failures[-1])
        return figures, failures

    with open_servers(tell, folder=folder) as servers:
        return asyncio.run(all_of_them(servers))


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def compare() -> None:
    """`python -m bench compare BEFORE.json AFTER.json`."""
    parser = argparse.ArgumentParser(prog="bench compare", description="Hold two result files side by side.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args(sys.argv[2:])
    print_comparison(given.before, given.after)


ASIDE: dict[str, Callable[[], None]] = {
    "compare": compare,
    "counters": counters.main,
    "history": lambda: history.main(sys.argv[2:]),
    "pinned": lambda: pinned.main(sys.argv[2:]),
    "peers": lambda: peers.main(sys.argv[2:]),
}
"""What is no measure of the one run."""

if __name__ == "__main__":
    ASIDE.get(sys.argv[1] if len(sys.argv) > 1 else "", main)()

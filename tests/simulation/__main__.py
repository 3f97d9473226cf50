"""`python -m tests.simulation [--seed N] [--count N] [--trace FILE]`: seeds of the simulated election.

Ends with 1 if one is broken.

One seed alone is told step by step where it is broken.
"""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TextIO

from scheduler_core.drill.trace import Event, Line, as_text

from .checks import EPOCH
from .play import play, trace


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write what every replica did (docs/traces.md)")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.count)
    if given.trace is None:
        season = play(seeds)
    else:
        with given.trace.open("w", encoding="utf-8") as file:
            season = play(seeds, on_trace=partial(_write, file))
    if given.count == 1 and season.broken:
        logging.disable(logging.CRITICAL)
        print(*trace(given.seed), sep="\n")
    print(*season.lines(), sep="\n")
    sys.exit(bool(season.broken))


def _write(file: TextIO, seed: int, lines: list[Line]) -> None:
    begun = Line(EPOCH, Event.HISTORY, note=f"seed {seed}")
    file.writelines(f"{as_text(line)}\n" for line in (begun, *lines))


if __name__ == "__main__":
    main()

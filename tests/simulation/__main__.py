"""`python -m tests.simulation [--seed N] [--count N]`: seeds of the simulated election; ends with 1 if one is broken.

One seed alone is told step by step where it is broken.
"""

from __future__ import annotations

import argparse
import logging
import sys

from .play import play, trace


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    given = parser.parse_args()
    season = play(range(given.seed, given.seed + given.count))
    if given.count == 1 and season.broken:
        logging.disable(logging.CRITICAL)
        print(*trace(given.seed), sep="\n")
    print(*season.lines(), sep="\n")
    sys.exit(bool(season.broken))


if __name__ == "__main__":
    main()

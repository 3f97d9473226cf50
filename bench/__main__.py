"""`python -m bench [MEASURE…] [--seconds N]`: each measure on servers of its own, figures as JSON.

What it takes to fail over is measured by `scheduler drill`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile

from bench import idle, lateness, outage
from bench.stage import Stage, now
from storage import embedded

MEASURES = {"lateness": (lateness.measure, 60.0), "idle": (idle.measure, 30.0), "outage": (outage.measure, 30.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"{', '.join(MEASURES)}; all by default")
    parser.add_argument("--seconds", type=float, help="how long each measure lasts")
    given = parser.parse_args()
    if unknown := set(given.measures) - set(MEASURES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    figures = {}
    for name in given.measures or MEASURES:
        measure, seconds = MEASURES[name]
        with tempfile.TemporaryDirectory(prefix="scheduler-bench-") as folder, embedded.start(folder) as servers:
            figures[name] = asyncio.run(measure(Stage(servers, now()), given.seconds or seconds))
    print(json.dumps(figures, indent=2))


main()

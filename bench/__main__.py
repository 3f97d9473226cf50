"""`python -m bench [MEASURE…] [--seconds N]`: figures as JSON; each measure that needs servers has its own.

`python -m bench history` asks and drops ten million runs. What it takes to fail over is measured by `scheduler drill`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile

from bench import history, idle, lateness, next_fires, outage
from bench.stage import Stage, now
from storage import embedded

MEASURES = {"lateness": (lateness.measure, 60.0), "idle": (idle.measure, 30.0), "outage": (outage.measure, 30.0)}
WITHOUT_SERVERS = {"next_fires": next_fires.measure}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = (*MEASURES, *WITHOUT_SERVERS)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"{', '.join(names)}; all by default")
    parser.add_argument("--seconds", type=float, help="how long each measure with servers lasts")
    given = parser.parse_args()
    if unknown := set(given.measures) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    figures = {}
    for name in given.measures or names:
        if name in WITHOUT_SERVERS:
            figures[name] = WITHOUT_SERVERS[name]()
            continue
        measure, seconds = MEASURES[name]
        with tempfile.TemporaryDirectory(prefix="scheduler-bench-") as folder, embedded.start(folder) as servers:
            figures[name] = asyncio.run(measure(Stage(servers, now()), given.seconds or seconds))
    print(json.dumps(figures, indent=2))


history.main(sys.argv[2:]) if sys.argv[1:2] == ["history"] else main()

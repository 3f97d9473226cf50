"""`python -m tests.simulation [--kind KIND] [--seed N] [--count N] [--trace FILE]`: seeds of simulated worlds.

Ends with 1 if one is broken.

One seed alone is told step by step where it is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

from scheduler_core.drill.trace import Event, Line, as_text

from .checks import EPOCH
from .fire.server import own_postgres, prepared
from .fire.world import FireWorld
from .play import AnyWorld, play, trace
from .world import World


@contextlib.contextmanager
def _fire(database_url: str | None) -> Iterator[Callable[[int], AnyWorld]]:
    with own_postgres() if database_url is None else contextlib.closing(prepared(database_url)) as real:
        yield lambda seed: FireWorld(seed, real)


KINDS: dict[str, Callable[[str | None], contextlib.AbstractContextManager[Callable[[int], AnyWorld]]]] = {
    "election": lambda _: contextlib.nullcontext(World),
    "fire": _fire,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--kind", choices=[*KINDS, "both"], default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--database-url", help="a migrated database, to be overwritten; else a server of its own")
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="write what every replica of an election did (docs/traces.md)"
    )
    given = parser.parse_args()
    is_broken = False
    with contextlib.ExitStack() as opened:
        write = (
            None
            if given.trace is None
            else partial(_write, opened.enter_context(given.trace.open("w", encoding="utf-8")))
        )
        for kind in KINDS if given.kind == "both" else [given.kind]:
            with KINDS[kind](given.database_url) as make:
                seeds = range(given.seed, given.seed + given.count)
                season = play(seeds, make, on_trace=write if kind == "election" else None)
                if given.count == 1 and season.broken:
                    logging.disable(logging.CRITICAL)
                    print(*trace(make(given.seed)), sep="\n")
            print(f"{kind}:", *season.lines(kind), sep="\n")
            is_broken |= bool(season.broken)
    sys.exit(is_broken)


def _write(file: TextIO, seed: int, lines: list[Line]) -> None:
    begun = Line(EPOCH, Event.HISTORY, note=f"seed {seed}")
    file.writelines(f"{as_text(line)}\n" for line in (begun, *lines))


if __name__ == "__main__":
    main()

"""`python -m tests.simulation [--kind KIND] [--seed N] [--count N]`: seeds of simulated worlds; ends with 1 if one is
broken.

One seed alone is told step by step where it is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

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
    given = parser.parse_args()
    is_broken = False
    for kind in KINDS if given.kind == "both" else [given.kind]:
        with KINDS[kind](given.database_url) as make:
            season = play(range(given.seed, given.seed + given.count), make)
            if given.count == 1 and season.broken:
                logging.disable(logging.CRITICAL)
                print(*trace(make(given.seed)), sep="\n")
        print(f"{kind}:", *season.lines(kind), sep="\n")
        is_broken |= bool(season.broken)
    sys.exit(is_broken)


if __name__ == "__main__":
    main()

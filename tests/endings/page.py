"""docs/endings.md, from what the tests hold each case to."""

from __future__ import annotations

from collections.abc import Iterator

from endings.catalogue import ENDS, KILLERS
from endings.product import Case, cases, expected

HEAD = """# However it ends

<!-- Written by `python -m tests.endings > docs/endings.md`. -->

What becomes of a run, for every way in which a callback can end: as a coroutine function, a plain one or a plain one
that returns a coroutine; in the replica, in a process of its pool, in a Dask cluster or under `ManualScheduler`; at its
first step or later; with each `delivery`, with and without a lock. `tests/endings` plays all {count:,} combinations
on real servers (`make endings`; every ending written in every way is part of `make test`), each with
`max_retries=1`, and looks at status, reason, attempts, error, counters and the number of calls.

A callback that raises has failed, whatever it raises, and is tried again like any failure. Nothing that it does to its
own task, its thread or its process reaches the next run, or the replica's place in the election.

| A callback that | comes to |
|---|---|
"""

KILLERS_HEAD = """
## What ends its process

The run that was under way is found by whoever leads next, or by the leader, where a process of the pool or a worker of
the cluster has died. A run whose death is known to be its own is charged with it; one that merely was beside it in the
same process is not, and begins again.

| A callback that | where | `at_least_once` | `at_most_once` |
|---|---|---|---|
"""

PLACES = {
    "local": "in the replica",
    "replicas": "in the replica that took it",
    "process": "in a process of the pool",
    "dask": "in a Dask cluster",
}


def written() -> str:
    """The whole page."""
    every = [case for place in (*PLACES, "ManualScheduler") for case in cases(place)]
    lines = [HEAD.format(count=len(every)).rstrip("\n")]
    lines += [f"| {ending} | {_told(ending, every)} |" for ending in ENDS if ending not in KILLERS]
    lines += [KILLERS_HEAD.rstrip("\n"), *_killers(every)]
    return "\n".join(lines) + "\n"


def _told(ending: str, every: list[Case]) -> str:
    """One outcome, or each with the ways to write the callback that it is for."""
    kinds: dict[str, list[str]] = {}
    for case in every:
        if case.ending == ending:
            found = kinds.setdefault(expected(case).words, [])
            if case.kind not in found:
                found.append(case.kind)
    if len(kinds) == 1:
        return next(iter(kinds))
    return "; ".join(f"{words} ({', '.join(written_as)})" for words, written_as in kinds.items())


def _killers(every: list[Case]) -> Iterator[str]:
    for ending in KILLERS:
        for place, where in PLACES.items():
            told = {
                case.delivery: expected(case).words for case in every if (case.ending, case.place) == (ending, place)
            }
            yield f"| {ending} | {where} | {told['at_least_once']} | {told['at_most_once']} |"

"""The real election on a slice of seeds: no invariant breaks, and a seed is one history."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from traces.mutants import MUTANTS as MUTANT_TRACES
from traces.replay import TraceRefusedError, replay

from scheduler_core.drill.trace import Event, Line

from .faults import FAULTS
from .mutants import MUTANTS
from .play import play

ROOT = Path(__file__).parents[2]
SEEDS = 30
REFUSED = {
    "dropped": (Event.TERM,),
    "doubled": (Event.TERM,),
    "of_another_term": (Event.TERM, Event.SEAT, Event.RESIGN, Event.START),
}
"""Of a simulated election's trace, by what happens to a line; it has no rows to swap or to search for cycles."""

MUTANT_SECONDS = 60.0
"""Of a processor's time, in which each is found; most take one."""


def test_no_invariant_breaks() -> None:
    traces: dict[int, list[Line]] = {}
    season = play(range(SEEDS), on_trace=traces.__setitem__)
    print(*season.lines("election"), sep="\n")
    assert season.broken == {}
    assert len(season.faults) > len(FAULTS) * 0.8, "of nearly every kind"
    assert season.terms > SEEDS
    assert season.starts > 1000
    replayed = [replay(lines) for lines in traces.values()]
    assert sum(one.steps["begin"] for one in replayed) > 0.5 * season.starts, "most of what happened was replayed"
    for mutant, events in REFUSED.items():
        for event in events:
            lines = next(lines for lines in traces.values() if any(line.event is event for line in lines[:-1]))
            place = next(place for place, line in enumerate(lines) if line.event is event)
            changed = MUTANT_TRACES[mutant](lines, place)
            assert changed is not None
            with pytest.raises(TraceRefusedError):
                replay(changed)


def test_the_same_seed_is_the_same_history_in_another_process() -> None:
    def digest(hash_seed: str) -> str:
        words = [sys.executable, "-m", "tests.simulation", "--kind", "election", "--seed", "7", "--count", "3"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(words, check=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
        return done.stdout.splitlines()[-1]

    first = digest("1")
    assert first.startswith("digest ")
    assert digest("2") == first


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_guard_that_is_missing_is_found(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    found = play(
        range(1, 10_000), MUTANTS[mutant], is_enough=lambda s: bool(s.broken) or s.processor_seconds > MUTANT_SECONDS
    )
    print(f"{mutant.__name__}: {found.seeds} seeds, {found.processor_seconds:.1f} s: {found.broken}")
    assert found.broken

"""The real election on a slice of seeds: no invariant breaks, and a seed is one history."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .faults import FAULTS
from .mutants import MUTANTS
from .play import play

ROOT = Path(__file__).parents[2]
SEEDS = 30
MUTANT_SECONDS = 60.0
"""Of a processor's time, in which each is found; most take one."""


def test_no_invariant_breaks() -> None:
    season = play(range(SEEDS))
    print(*season.lines("election"), sep="\n")
    assert season.broken == {}
    assert len(season.faults) > len(FAULTS) * 0.8, "of nearly every kind"
    assert season.terms > SEEDS
    assert season.starts > 1000


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

"""The whole fire path on a slice of seeds, on a stepped Postgres: no invariant breaks, and a seed is one history."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .fire.mutants import MUTANTS, plans_from_now, start_is_not_durable
from .fire.server import prepared
from .fire.stepped_postgres import RealPostgres
from .fire.world import FireWorld
from .play import play

ROOT = Path(__file__).parents[2]
SEEDS = range(1, 5)
MUTANT_SECONDS = 60.0
"""Of a processor's time."""

QUICK = (plans_from_now, start_is_not_durable)
"""Found within a few worlds; `SIMULATED_MUTANTS=all` looks for every one."""

ASKED = tuple(MUTANTS) if os.environ.get("SIMULATED_MUTANTS") == "all" else QUICK


@pytest.fixture
def real(database_url: str) -> Iterator[RealPostgres]:
    made = prepared(database_url)
    yield made
    made.close()


def test_no_invariant_breaks_and_a_seed_is_one_history(real: RealPostgres, database_url: str) -> None:
    season = play(SEEDS, lambda seed: FireWorld(seed, real))
    print(*season.lines("fire"), sep="\n")
    assert season.broken == {}
    assert season.faults.total() > 4 * len(SEEDS)
    assert season.starts > 100, "callbacks were called"
    again = play(SEEDS[:1], lambda seed: FireWorld(seed, real))
    words = [sys.executable, "-m", "tests.simulation", "--kind", "fire", "--seed", "1", "--count", "1"]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    elsewhere = subprocess.run(
        [*words, "--database-url", database_url],
        check=True,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert elsewhere.stdout.splitlines()[-1] == f"digest {again.digest}"


@pytest.mark.parametrize("mutant", ASKED, ids=lambda mutant: mutant.__name__)
def test_a_guard_that_is_missing_is_found(
    mutant: Callable[[pytest.MonkeyPatch], None], real: RealPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    found = play(
        range(1, 10_000),
        lambda seed: FireWorld(seed, real, MUTANTS[mutant]),
        is_enough=lambda season: bool(season.broken) or season.processor_seconds > MUTANT_SECONDS,
    )
    print(f"{mutant.__name__}: {found.seeds} seeds, {found.processor_seconds:.1f} s: {found.broken}")
    assert found.broken

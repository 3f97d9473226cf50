"""Many seeds, one after another: `python -m tests.simulation SEED COUNT`."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from scheduler_core.drill.trace import Line

from .checks import Checks, Tally, ViolationError
from .timeline import Timeline
from .world import World


class AnyWorld(Protocol):
    """What can be played: an election, or the whole fire path."""

    @property
    def timeline(self) -> Timeline: ...

    @property
    def checks(self) -> Checks: ...

    @property
    def began_at(self) -> float: ...

    @property
    def digest(self) -> str: ...

    def play(self) -> Tally:
        """Raises ViolationError."""


@dataclass(slots=True)
class Season:
    """What a number of seeds came to."""

    seeds: int = 0
    broken: dict[int, str] = field(default_factory=dict)
    """By seed: what did not hold."""
    faults: Counter[str] = field(default_factory=Counter)
    terms: int = 0
    starts: int = 0
    virtual_seconds: float = 0.0
    processor_seconds: float = 0.0
    takeovers: list[tuple[str, float]] = field(default_factory=list)
    longest_overlap_seconds: float = 0.0
    longest_vacancy_seconds: float = 0.0
    digest: str = ""

    def lines(self, kind: str) -> Iterable[str]:
        """For people."""
        faults = self.faults.total()
        yield (
            f"{self.seeds} seeds, {faults:,} faults, {self.terms:,} terms, {self.starts:,} starts: "
            f"{len(self.broken)} broken"
        )
        yield (
            f"{self.virtual_seconds:,.0f} s of virtual time in {self.processor_seconds:,.1f} s of one core: "
            f"{faults / self.processor_seconds:,.0f} faults a second"
        )
        for name in sorted({name for name, _ in self.takeovers}):
            seconds = sorted(took for kind, took in self.takeovers if kind == name)
            middle = seconds[len(seconds) // 2]
            yield f"  after {name}: n {len(seconds)}, p50 {middle * 1000:.0f} ms, max {seconds[-1] * 1000:.0f} ms"
        yield (
            f"longest start beside a successor {self.longest_overlap_seconds:.2f} s, "
            f"longest vacancy after the last fault {self.longest_vacancy_seconds:.2f} s"
        )
        yield f"digest {self.digest}"
        for seed, what in self.broken.items():
            yield f"BROKEN {what}\n  again: make simulate-faults KIND={kind} SEED={seed} COUNT=1"


def play(
    seeds: Iterable[int],
    make: Callable[[int], AnyWorld] = World,
    *,
    is_enough: Callable[[Season], bool] = lambda season: False,
    on_trace: Callable[[int, list[Line]], None] | None = None,
) -> Season:
    """Play each seed's world, until it is enough. `on_trace` is given the trace of each seed's election."""
    season, digest = Season(), hashlib.blake2b(digest_size=12)
    # A logger of the storage's own tells what goes wrong, and it does all the time.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        for seed in seeds:
            world = make(seed)
            if on_trace is None or not isinstance(world, World):
                _add(season, world, seed)
            else:
                world.be_traced()
                _add(season, world, seed)
                on_trace(seed, world.lines)
            if is_enough(season):
                break
            digest.update(season.digest.encode())
    finally:
        logging.disable(before)
    season.digest = digest.hexdigest()
    return season


def _add(season: Season, world: AnyWorld, seed: int) -> None:
    began = time.process_time()
    try:
        world.play()
    except ViolationError as broken:
        season.broken[seed] = str(broken)
    tally = world.checks.tally
    season.seeds += 1
    season.processor_seconds += time.process_time() - began
    season.virtual_seconds += world.timeline.now - world.began_at
    season.faults += tally.faults
    season.terms += tally.terms
    season.starts += tally.starts
    season.takeovers += tally.takeovers
    season.longest_overlap_seconds = max(season.longest_overlap_seconds, tally.longest_overlap_seconds)
    season.longest_vacancy_seconds = max(season.longest_vacancy_seconds, tally.longest_vacancy_seconds)
    season.digest = world.digest


def trace(world: AnyWorld) -> list[str]:
    """One world's history, line by line."""
    with contextlib.suppress(ViolationError):
        world.play()
    return world.checks.trace

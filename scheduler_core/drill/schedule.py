"""Which faults hit, and when: from a seed, so that a bad day can be played again. Pure."""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.drill.kinds import KINDS
from scheduler_core.drill.pairs import pairs
from scheduler_core.settings import Settings

FAULT_NAMES: tuple[str, ...] = tuple(KINDS)
"""As on the command line. What each means stands in `faults.FAULTS[name].says`."""


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """What is asked of a drill.

    replicas, how many processes take part; faults, the kinds to draw from; count, how many faults hit; seed, of all
    chance; lease_ttl_seconds, of the replicas; data_dir, where embedded servers and witness files live (None: a
    temporary folder, removed at the end); staging, the settings of a user's servers (None: embedded ones);
    all_down_seconds, how long `all-down` lasts; keep, leave schema and folder for a look afterwards; trace, the file
    that tells what every replica did (None: it is not kept).
    """

    replicas: int
    faults: tuple[str, ...]
    count: int
    seed: int
    lease_ttl_seconds: float
    data_dir: Path | None
    staging: Settings | None
    all_down_seconds: float
    keep: bool
    trace: Path | None = None


PAUSE_MS = (300, 1_500)
"""Between a stage that has settled and the next fault: out of step with everything that is periodic."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of the list: its number from 1, its kind, and how long to let things run before it."""

    number: int
    kind: str
    pause_ms: int
    seed: int
    """For what the fault itself draws."""
    parts: tuple[str, ...]
    """The faults that hit at once: the kind itself, or the two of `two`."""


def planned_faults(plan: DrillPlan) -> tuple[PlannedFault, ...]:
    """The faults of a drill in their order. The same plan gives the same list.

    All kinds asked for come in a shuffled order, then again in another, so that each occurs as soon as there is
    room for it; so do the pairs of which `two` is made. Raises InvalidSettingsError for a kind that does not exist.
    """
    check_names(plan.faults)
    draw = random.Random(plan.seed)
    kinds: list[str] = []
    while len(kinds) < plan.count:
        kinds += draw.sample(plan.faults, len(plan.faults))
    drawn = _drawn_pairs(pairs(embedded=plan.staging is None), draw)
    return tuple(
        PlannedFault(
            number=number,
            kind=kind,
            pause_ms=draw.randint(*PAUSE_MS),
            seed=draw.getrandbits(32),
            parts=next(drawn) if kind == "two" else (kind,),
        )
        for number, kind in enumerate(kinds[: plan.count], start=1)
    )


def replay_command(plan: DrillPlan) -> str:
    """The command that plays the same faults in the same order again, on the same kind of servers."""
    words = [
        "scheduler",
        "drill",
        "--seed",
        str(plan.seed),
        "--kills",
        str(plan.count),
        "--replicas",
        str(plan.replicas),
    ]
    words += ["--fault", ",".join(plan.faults), "--ttl", f"{plan.lease_ttl_seconds:g}"]
    if "all-down" in plan.faults:
        words += ["--all-down-seconds", f"{plan.all_down_seconds:g}"]
    return " ".join([*words, *(["--staging"] if plan.staging is not None else [])])


def _drawn_pairs(possible: Sequence[tuple[str, str]], draw: random.Random) -> Iterator[tuple[str, str]]:
    """All pairs in a shuffled order, then again in another."""
    while True:
        yield from draw.sample(possible, len(possible))


def check_names(kinds: tuple[str, ...]) -> None:
    """Raise InvalidSettingsError unless these are faults, and any at all."""
    if not kinds:
        raise InvalidSettingsError(f"a drill needs a fault at least: choose from {', '.join(FAULT_NAMES)}")
    for kind in kinds:
        if kind not in FAULT_NAMES:
            close = difflib.get_close_matches(kind, FAULT_NAMES, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f": choose from {', '.join(FAULT_NAMES)}"
            raise InvalidSettingsError(f"there is no fault {kind!r}{hint}")

"""The protocol keeps its invariants in every execution within bounds, and breaks each with one line off.

The bounds (`SCENARIOS`) are small, and exhaustive within themselves: every interleaving of two or three replicas,
every point at which a process can pause, crash, lose its session or a reply, every such fault up to the number
given. What a scenario leaves out, another takes in: Redis where the election is on trial, several occurrences where
claims are, execution and recovery where runs are.
"""

from __future__ import annotations

import importlib
import inspect

import pytest

from model import protocol
from model.invariants import LIVENESS, Invariant, goals
from model.protocol import CODE, Bounds, Mutant, Protocol
from model.search import explore

ELECTION = Bounds(replicas=2, occurrences=0, terms=3, faults=2, led=False)
SEATED = Bounds(replicas=2, occurrences=0, terms=3, faults=2, redis=False)
THREE_REPLICAS = Bounds(replicas=3, occurrences=0, terms=2, faults=2, redis=False)
CLAIMS = Bounds(replicas=2, occurrences=3, terms=2, faults=1, executes=False, redis=False)
CLAIMS_WITH_REDIS = Bounds(replicas=2, occurrences=1, terms=2, faults=1, executes=False)
RUN = Bounds(replicas=2, occurrences=1, terms=3, faults=1, redis=False)
FAULTY_RUN = Bounds(replicas=2, occurrences=1, terms=2, faults=2, redis=False)
TWO_RUNS = Bounds(replicas=2, occurrences=2, terms=2, faults=0, redis=False)
RUN_WITH_REDIS = Bounds(replicas=2, occurrences=1, terms=2, faults=0)

SCENARIOS = [
    pytest.param(ELECTION, 40_000, id="election"),
    pytest.param(THREE_REPLICAS, 25_000, id="three-replicas"),
    pytest.param(CLAIMS, 9_000, id="claims"),
    pytest.param(CLAIMS_WITH_REDIS, 15_000, id="claims-with-redis"),
    pytest.param(SEATED, 2_000, id="seated"),
    pytest.param(RUN, 20_000, id="run"),
    pytest.param(FAULTY_RUN, 45_000, id="faulty-run"),
    pytest.param(TWO_RUNS, 4_500, id="two-runs"),
    pytest.param(RUN_WITH_REDIS, 5_500, id="run-with-redis"),
]

BREAKS: dict[Mutant, tuple[Invariant, Bounds]] = {
    Mutant.NO_FOR_SHARE: (Invariant.I2, CLAIMS_WITH_REDIS),
    Mutant.FOR_KEY_SHARE: (Invariant.I2, CLAIMS_WITH_REDIS),
    Mutant.CLAIM_WITHOUT_COMPARE: (Invariant.I1, ELECTION),
    Mutant.TERM_FROM_REDIS: (Invariant.I1, ELECTION),
    Mutant.TWO_TRANSACTIONS: (Invariant.I4, CLAIMS),
    Mutant.WITNESS_IS_AUTHORITY: (Invariant.I1, SEATED),
    Mutant.START_WITHOUT_TRUST: (Invariant.I7, RUN),
    Mutant.LEASE_IS_AUTHORITY: (Invariant.I2, CLAIMS_WITH_REDIS),
    Mutant.RECLAIM_WITHOUT_COMPARE: (Invariant.I1, SEATED),
    Mutant.RECORD_WITHOUT_GUARD: (Invariant.I5, RUN),
    Mutant.REAP_THE_LIVING: (Invariant.I6, RUN),
    Mutant.LOST_REPLY_LEADS: (Invariant.I1, ELECTION),
    Mutant.NO_UNIQUE_KEY: (Invariant.I3, CLAIMS),
    Mutant.ADOPT_IN_THE_WINDOW: (Invariant.I6, RUN),
    Mutant.LEASE_WITHOUT_TTL: (Invariant.L1, ELECTION),
    Mutant.LOST_CLAIM_FORGOTTEN: (Invariant.L2, RUN),
}


@pytest.mark.parametrize(("bounds", "floor"), SCENARIOS)
def test_the_protocol_keeps_every_invariant(bounds: Bounds, floor: int) -> None:
    """`floor`: a guard that never opens keeps every invariant too, so that few worlds mean a model gone lame."""
    found = explore(Protocol(bounds))
    print(f"{len(found.worlds):,} worlds")
    assert found.broken is None, _told(found.broken, found.trace)
    assert len(found.worlds) >= floor
    for invariant, goal in goals(bounds).items():
        stuck = found.stuck(goal)
        assert not stuck, _told(invariant, found.way_to(stuck[0]))


@pytest.mark.parametrize("mutant", Mutant, ids=lambda mutant: mutant.name.lower())
def test_one_line_off_breaks_an_invariant(mutant: Mutant) -> None:
    expected, bounds = BREAKS[mutant]
    found = explore(Protocol(bounds, mutant))
    broken, trace = found.broken, found.trace
    if broken is None and expected in LIVENESS:
        stuck = found.stuck(LIVENESS[expected])
        broken, trace = (expected, found.way_to(stuck[0])) if stuck else (None, [])
    print(f"{mutant.value}:\n{_told(broken, trace)}")
    assert broken is expected, _told(broken, trace)


def test_every_invariant_is_broken_by_some_mutant() -> None:
    """A check that nothing can fail checks nothing."""
    assert set(BREAKS) == set(Mutant)
    assert {invariant for invariant, _ in BREAKS.values()} == set(Invariant)


def test_a_search_is_the_same_each_time() -> None:
    first, second = explore(Protocol(RUN_WITH_REDIS)), explore(Protocol(RUN_WITH_REDIS))
    assert first.worlds == second.worlds
    assert first.came_from == second.came_from


def test_too_many_worlds_are_an_error_and_no_result() -> None:
    with pytest.raises(OverflowError, match="narrower bounds"):
        explore(Protocol(ELECTION), cap=1_000)


def _told(broken: Invariant | None, trace: list[str]) -> str:
    verdict = f"{broken.name} is broken ({broken.value})" if broken else "nothing is broken"
    return "\n".join([verdict, *(f"{n:4}. {name}" for n, name in enumerate(trace, 1))])


def test_each_step_names_the_code_that_it_stands_for() -> None:
    """Neither a step without code nor an entry without a step."""
    groups = (protocol.ELECTION, protocol.CLAIMS, protocol.RUNS, protocol.RECOVERY, protocol.FAULTS, protocol.SERVERS)
    assert CODE.keys() == {step for group in (*groups, protocol.OPERATORS) for step in group}
    # No step that the search does not take, and none that it takes from elsewhere.
    steps = {item for name, item in vars(protocol).items() if not name.startswith("_") and _is_step(item)}
    assert CODE.keys() == steps


@pytest.mark.parametrize("reference", sorted({one for named in CODE.values() for one in named}))
def test_the_code_that_a_step_stands_for_is_there(reference: str) -> None:
    module, _, qualname = reference.partition(":")
    found: object = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    # Its own module's, so that the reference leads to the place where it is written.
    assert isinstance(found, str) or getattr(found, "__module__", None) == module, reference


def _is_step(item: object) -> bool:
    return inspect.isfunction(item) and inspect.get_annotations(item).get("return") == "Steps"

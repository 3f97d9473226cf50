"""The invariants of docs/invariants.md as questions about one step: the world before it and after it.

Each returns True if the step keeps it. None of them knows the step's name: what happened must show in the world,
as it must show in the tables of the real thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

from model.protocol import Bounds, Hand, Phase, Replica, Stage, Status, World, leads, trusts


class Invariant(Enum):
    """I1 to I7 are asked of every step, L1 and L2 of every world: whether their goal is within reach."""

    I1 = "terms are unique and strictly increasing"
    I2 = "every move of a cursor held the current term at commit"
    I3 = "one run row per occurrence"
    I4 = "nothing below the cursor is unaccounted"
    I5 = "at most one recorded outcome per attempt, and in its own name"
    I6 = "of a run's live attempts at most one stands"
    I7 = "an attempt starts only inside the trust window of its owner"
    L1 = "once faults heal there is a leader"
    L2 = "once faults heal every occurrence ends"


def terms_increase(before: World, after: World) -> bool:
    """I1. The row's term never falls, whoever comes to lead has a term that nobody had, and no two share one."""
    if after.row.term < before.row.term:
        return False
    if after.replicas is before.replicas:
        return True
    pairs = zip(before.replicas, after.replicas, strict=True)
    leading = [(was, now) for was, now in pairs if now.phase is Phase.LEADING]
    fresh = all(now.term > before.row.term or _was_seated(before, was, now.term) for was, now in leading)
    return fresh and len(leading) == len({now.term for _, now in leading})


def _was_seated(before: World, was: Replica, term: int) -> bool:
    """Whether the term was this replica's before: held, lost from sight, or won with the reply lost."""
    if was.phase in (Phase.LEADING, Phase.RECLAIMING):
        return was.term == term
    return before.row == (term, was.nonce)


def moves_are_fenced(before: World, after: World) -> bool:
    """I2. Asked at the commit, which is when everybody else comes to see the move."""
    if after.cursor == before.cursor:
        return True
    committed = [was for was, now in zip(before.claims, after.claims, strict=True) if was is not None and was != now]
    return all(claim.term == before.row.term for claim in committed)


def rows_are_unique(_: World, after: World) -> bool:
    """I3."""
    return all(len(rows) <= 1 for rows in after.runs)


def all_is_accounted(_: World, after: World) -> bool:
    """I4. An occurrence has a row, or a row further on counts it."""
    covered: set[int] = set()
    for k, rows in enumerate(after.runs):
        for run in rows:
            covered.update(range(k - run.stands_for + 1, k + 1))
    return covered.issuperset(range(after.cursor))


def outcomes_are_single(before: World, after: World) -> bool:
    """I5. An attempt is known by its run and its owner's term. A row that has ended says no second word."""
    for was, now in zip(before.runs, after.runs, strict=True):
        if not was or was is now or was[0].outcomes == now[0].outcomes:
            continue
        told = now[0].outcomes[len(was[0].outcomes) :]
        if told != (was[0].term,) or was[0].status is Status.ENDED or was[0].term in was[0].outcomes:
            return False
    return True


def attempts_are_alone(_: World, after: World) -> bool:
    """I6, precisely: of a run's live attempts at most one stands. An attempt stands as long as

    - its owner's life witness has not fallen since it began (only a cut session or a restart of Postgres lets it
      fall under a living process), and
    - the database was told of it, or its owner's trust window is still open.

    So a run marked as running, whose owner lives and has kept its life witness, is never begun by another. More
    can't be promised: the database can't know of an attempt that nobody told it of, nor stop one in a process
    that it has lost sight of.
    """
    return all(
        sum(_stands(replica, replica.hands[k]) for replica in after.replicas) <= 1 for k in range(len(after.runs))
    )


def _stands(replica: Replica, hand: Hand | None) -> bool:
    if hand is None or hand.stage is Stage.TIMER or not hand.unbroken:
        return False
    return hand.stage is Stage.MARKED or trusts(replica, hand.term)


def attempts_are_trusted(before: World, after: World) -> bool:
    """I7."""
    return all(trusts(before.replicas[r], hand.term) for r, _, hand in _beginnings(before, after))


def _beginnings(before: World, after: World) -> Iterator[tuple[int, int, Hand]]:
    if before.replicas is after.replicas:
        return
    for r, (was, now) in enumerate(zip(before.replicas, after.replicas, strict=True)):
        if was.hands is now.hands:
            continue
        for k, hand in enumerate(now.hands):
            if hand is not None and hand.stage is Stage.BEGUN and was.hands[k] != hand:
                held = was.hands[k]
                if held is None or held.stage is Stage.TIMER:
                    yield r, k, hand


SAFETY: dict[Invariant, Callable[[World, World], bool]] = {
    Invariant.I1: terms_increase,
    Invariant.I2: moves_are_fenced,
    Invariant.I3: rows_are_unique,
    Invariant.I4: all_is_accounted,
    Invariant.I5: outcomes_are_single,
    Invariant.I6: attempts_are_alone,
    Invariant.I7: attempts_are_trusted,
}


def has_leader(world: World) -> bool:
    """L1's goal: somebody leads, knows it, trusts itself and is witnessed."""
    return any(leads(world, replica) and replica.trusted and replica.session for replica in world.replicas)


def is_finished(world: World) -> bool:
    """L2's goal: every occurrence was passed and every run has ended."""
    return world.cursor == len(world.runs) and all(
        run.status in (Status.ENDED, Status.MISSED) for rows in world.runs for run in rows
    )


LIVENESS: dict[Invariant, Callable[[World], bool]] = {Invariant.L1: has_leader, Invariant.L2: is_finished}


def goals(bounds: Bounds) -> dict[Invariant, Callable[[World], bool]]:
    """What may be asked of worlds within these bounds: where nothing executes, no run ends."""
    return {invariant: goal for invariant, goal in LIVENESS.items() if bounds.executes or invariant is not Invariant.L2}

"""Search through every world that a protocol can reach: breadth first, fewest faults first, no randomness.

A world reached with fewer faults can do all that it can do reached with more, so faults are no part of a world: the
search takes the worlds in the order of (faults, steps) on their way, and sees each once. The trace of a broken
invariant is therefore the shortest of those with the fewest faults.

A search ends in one of three ways: every reachable world was seen, an invariant broke, or there were more worlds
than the cap allows, which is an error and not a result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from model.invariants import SAFETY, Invariant
from model.protocol import Bounds, Kind, Protocol, World, canonical

CAP = 400_000


@dataclass
class Exploration:
    """What a search found: the worlds in the order of their discovery, how each is reached with the fewest faults,
    and the invariant that broke, if one did."""

    bounds: Bounds
    worlds: list[World]
    came_from: list[tuple[int, str]]
    healing: list[list[int]] = field(default_factory=list)
    """By world, the worlds from which an ordinary step, no fault and no trouble, leads to it."""
    broken: Invariant | None = None
    trace: list[str] = field(default_factory=list)
    """The way to the broken invariant, the breaking step last."""

    def way_to(self, index: int) -> list[str]:
        """The shortest way to a world."""
        names: list[str] = []
        while index:
            index, name = self.came_from[index]
            names.append(name)
        return names[::-1]

    def stuck(self, goal: Callable[[World], bool]) -> list[int]:
        """The worlds from which the goal can't be reached once faults and troubles have ended, nearest first.

        "Once faults heal" is a question about paths: from the world, by ordinary steps alone, to the goal. So walk
        the ordinary steps backwards from every world in which the goal is reached; what is left is stuck. Worlds
        that stand at the last term within the bounds are not asked: only the bounds keep them from healing.
        """
        lost = {index for index, world in enumerate(self.worlds) if not goal(world)}
        front = [index for index in range(len(self.worlds)) if index not in lost]
        while front:
            found = {source for index in front for source in self.healing[index] if source in lost}
            lost -= found
            front = sorted(found)
        waiting = (index for index in lost if self.worlds[index].row.term < self.bounds.terms)
        return sorted(waiting, key=lambda index: len(self.way_to(index)))


def explore(protocol: Protocol, cap: int = CAP) -> Exploration:
    """Try everything, until an invariant breaks or nothing is left."""
    start = protocol.start()
    index_of = {start: 0}
    costs = [(0, 0)]
    found = Exploration(protocol.bounds, [start], [(0, "")], [[]])
    front = [(0, 0, 0)]
    while front:
        faults, length, index = heappop(front)
        if costs[index] != (faults, length):
            continue
        world = found.worlds[index]
        for kind, name, reached in protocol.steps(world):
            cost = (faults + (kind is Kind.FAULT), length + 1)
            if cost[0] > protocol.bounds.faults:
                continue
            after = canonical(reached)
            if after == world:
                continue
            known = index_of.get(after)
            if known is None:
                known = index_of[after] = len(found.worlds)
                found.worlds.append(after)
                found.came_from.append((index, name))
                found.healing.append([])
                costs.append(cost)
                heappush(front, (*cost, known))
            elif cost < costs[known]:
                costs[known] = cost
                found.came_from[known] = (index, name)
                heappush(front, (*cost, known))
            for invariant, keeps in SAFETY.items():
                if not keeps(world, after):
                    return replace(found, broken=invariant, trace=[*found.way_to(index), name])
            if kind is Kind.STEP:
                found.healing[known].append(index)
        if len(found.worlds) > cap:
            raise OverflowError(f"more than {cap:,} worlds: choose narrower bounds")
    return found

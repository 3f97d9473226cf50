"""Which faults can hit at once: those that take hold of different things. Pure.

`drill.kinds` names what each takes hold of; two that name the same thing can't be combined, and the thing says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from scheduler_core.drill.kinds import KINDS, THE_LEADER

WHY_NOT: Mapping[str, str] = {
    "leader": "both hit the leader, and whom one of them ends or holds up the other can't hit",
    "leader's Redis": "both hit the leader's connections to Redis, which end with the leader",
    "leader's Postgres": "both hit the leader's connections to Postgres, which end with the leader",
    "followers": "both need a follower to hit or to go on with",
    "Redis": "one server goes down once",
    "Redis's data": "the one makes Redis forget what the other wrote there, or writes the same key",
    "Redis's replicas": "a Redis that is started again has forgotten the other's setting",
    "Redis's dump": "a Redis that is started again has forgotten the other's setting",
    "Postgres": "one server goes down once",
}
"""What faults take hold of that more than one does, and why no two can at once."""

HOLDS: Mapping[str, frozenset[str]] = {
    name: frozenset(kind.holds) for name, kind in KINDS.items() if kind.holds is not None
}
"""What each kind takes hold of that can be drawn for a pair."""


def ends_leader(kind: str) -> bool:
    """Whether it ends the leader's process, and its connections with that."""
    return HOLDS.get(kind, frozenset()).issuperset(THE_LEADER)


def clash(one: str, other: str) -> str | None:
    """Why two kinds can't hit at once; None if they can."""
    if one == other:
        return "it is the same fault"
    shared = sorted(HOLDS[one] & HOLDS[other])
    return WHY_NOT[shared[0]] if shared else None


def pairs(*, embedded: bool) -> tuple[tuple[str, str], ...]:
    """All pairs of kinds that can hit at once on the drill's own servers (`embedded`), or on any."""
    kinds = [kind for kind in HOLDS if embedded or KINDS[kind].on_any_servers]
    return tuple(pair for pair in combinations(kinds, 2) if clash(*pair) is None)

"""Which faults can hit at once: those that take hold of different things. Pure.

Each kind names what it takes hold of; two that name the same thing can't be combined, and the thing says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

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

_LEADER = ("leader", "leader's Redis", "leader's Postgres")
_REDIS = ("Redis", "Redis's data", "Redis's replicas", "Redis's dump")

_HOLDS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("kill", "term", "suicide", "fork", "kill-locked", "on-the-dot"): _LEADER,
    ("skew", "all-down"): (*_LEADER, "followers"),
    ("stop-0.5", "stop-1", "stop-2", "stop-10", "block-2", "block-20"): ("leader",),
    ("follower-kill",): ("followers",),
    ("redis-reset", "redis-blackhole", "redis-blackhole-up", "redis-blackhole-down", "redis-delay"): (
        "leader's Redis",
    ),
    ("pg-reset", "pg-blackhole", "pg-blackhole-up", "pg-blackhole-down", "pg-delay"): ("leader's Postgres",),
    ("pg-terminate", "pg-terminate-control"): ("leader's Postgres",),
    ("redis-down", "redis-empty"): _REDIS,
    ("redis-flush", "redis-wrongtype", "redis-foreign"): ("Redis's data",),
    ("redis-noreplicas",): ("Redis's replicas",),
    ("redis-misconf",): ("Redis's dump",),
    ("pg-kill", "pg-restart", "pg-failover", "pg-failover-sync", "pg-moved"): ("Postgres",),
    ("pg-readonly", "pg-serializable", "pg-publication", "pg-snapshot", "pg-full", "pg-rights", "pg-clock"): (),
}
HOLDS: Mapping[str, frozenset[str]] = {kind: frozenset(things) for kinds, things in _HOLDS.items() for kind in kinds}
"""What each kind takes hold of. `stop` is `stop-2`, and `two` is made of others: neither is drawn for a pair."""

ON_ANY_SERVERS: frozenset[str] = frozenset(
    {
        *("kill", "term", "stop-0.5", "stop-1", "stop-2", "stop-10", "block-2", "block-20", "suicide", "fork"),
        *("kill-locked", "on-the-dot", "follower-kill", "skew", "pg-terminate-control", "pg-snapshot", "pg-full"),
        *("redis-wrongtype", "redis-foreign", "all-down"),
    }
)
"""Kinds that need neither servers of the drill's own nor a relay before them."""


def ends_leader(kind: str) -> bool:
    """Whether it ends the leader's process, and its connections with that."""
    return HOLDS.get(kind, frozenset()).issuperset(_LEADER)


def clash(one: str, other: str) -> str | None:
    """Why two kinds can't hit at once; None if they can."""
    if one == other:
        return "it is the same fault"
    shared = sorted(HOLDS[one] & HOLDS[other])
    return WHY_NOT[shared[0]] if shared else None


def pairs(*, embedded: bool) -> tuple[tuple[str, str], ...]:
    """All pairs of kinds that can hit at once on the drill's own servers (`embedded`), or on any."""
    kinds = [kind for kind in HOLDS if embedded or kind in ON_ANY_SERVERS]
    return tuple(pair for pair in combinations(kinds, 2) if clash(*pair) is None)
